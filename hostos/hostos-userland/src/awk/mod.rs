//! `awk`: the command line around the interpreter, which is a crate of others.
//!
//! What its parser and interpreter do not do by themselves is made good in [`program`]. One thing is left:
//! a bare `getline` in BEGIN reads nothing.
//!
//! Assignments among the operands are made before the first record is read; one that stands behind a
//! file, to hold from there on, is refused.

mod program;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write as _};
use std::process::ExitCode;

use awk_rs::Interpreter;
use program::Whole;

const MISUSED: u8 = 2;
const USAGE: &str = "Usage: awk [-F SEPARATOR] [-v NAME=VALUE] {PROGRAM | -f FILE} [NAME=VALUE] [FILE]...";

/// What the arguments say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Call {
    separator: Option<String>,
    assignments: Vec<(String, String)>,
    program: String,
    files: Vec<String>,
}

pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let words: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    if words.first().is_some_and(|word| word == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match parse(&words).and_then(|call| execute(&call)) {
        Ok(code) => ExitCode::from(u8::try_from(code & 0xFF).unwrap_or(1)),
        Err(problem) => {
            eprintln!("awk: {problem}");
            ExitCode::from(MISUSED)
        }
    }
}

fn parse(words: &[String]) -> Result<Call, String> {
    let mut call = Call::default();
    let mut programs = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) else { break };
        at += 1;
        if letters == "-" {
            break;
        }
        let (letter, stuck) = letters.split_at(letters.chars().next().map_or(0, char::len_utf8));
        if !["F", "v", "f"].contains(&letter) {
            return Err(format!("there is no option `{word}`\n{USAGE}"));
        }
        let value = if stuck.is_empty() {
            let value = words.get(at).ok_or_else(|| format!("-{letter} wants a value\n{USAGE}"))?;
            at += 1;
            value.as_str()
        } else {
            stuck
        };
        match letter {
            // A lone t means a tab, as it always did.
            "F" => call.separator = Some(if value == "t" { "\t".into() } else { unescape(value) }),
            "v" => {
                let pair = assignment(value).ok_or_else(|| format!("`{value}` assigns nothing to a name"))?;
                call.assignments.push(pair);
            }
            _ => {
                let text = if value == "-" {
                    io::read_to_string(io::stdin())
                } else {
                    std::fs::read_to_string(value)
                };
                programs.push(text.map_err(|error| format!("cannot read the program {value}: {error}"))?);
            }
        }
    }
    let mut rest = words[at.min(words.len())..].iter();
    if programs.is_empty() {
        programs.push(rest.next().ok_or(USAGE)?.clone());
    }
    call.program = programs.join("\n");
    for word in rest {
        match assignment(word) {
            Some(pair) if call.files.is_empty() => call.assignments.push(pair),
            Some(_) => return Err(format!("`{word}` stands behind a file, where it cannot be honoured")),
            None => call.files.push(word.clone()),
        }
    }
    Ok(call)
}

/// `NAME=VALUE` with its escapes read.
fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let named = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    named.then(|| (name.to_owned(), unescape(value)))
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some('r') => plain.push('\r'),
            Some('a') => plain.push('\u{7}'),
            Some('b') => plain.push('\u{8}'),
            Some('f') => plain.push('\u{c}'),
            Some('v') => plain.push('\u{b}'),
            Some(c @ ('"' | '/')) => plain.push(c),
            Some('\\') => plain.push('\\'),
            Some(digit @ '0'..='7') => {
                let mut code = digit.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(next) = chars.peek().and_then(|c| c.to_digit(8)) else { break };
                    code = code * 8 + next;
                    chars.next();
                }
                plain.extend(char::from_u32(code));
            }
            // Of a regular expression, as in `-F '\\.'`.
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    plain
}

fn execute(call: &Call) -> Result<i32, String> {
    let program = Whole::read(&call.program)?;
    let mut interpreter = Interpreter::new(&program.rules);
    if let Some(separator) = &call.separator {
        interpreter.set_fs(separator);
    }
    interpreter.set_args(["awk".to_owned()].into_iter().chain(call.files.iter().cloned()).collect());
    let mut out = BufWriter::new(io::stdout().lock());
    for (name, value) in &call.assignments {
        match program::assignment(name, value) {
            Some(block) => drop(interpreter.execute_block(&block, &mut out).map_err(|e| e.to_string())?),
            None => interpreter.set_variable(name, value),
        }
    }
    let inputs = if program.reads { inputs(call, &mut interpreter)? } else { Vec::new() };
    let code =
        interpreter.run(inputs, &mut out).and_then(|code| program.end(&mut interpreter, code, &mut out));
    let flushed = out.flush();
    match code {
        Ok(code) => Ok(code),
        // Whoever read has seen enough.
        Err(_) if flushed.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) => Ok(0),
        Err(error) => Err(error.to_string()),
    }
}

/// The files, or standard input without any.
fn inputs(call: &Call, interpreter: &mut Interpreter<'_>) -> Result<Vec<Box<dyn BufRead>>, String> {
    if call.files.is_empty() {
        interpreter.set_filenames(vec![String::new()]);
        return Ok(vec![Box::new(BufReader::new(io::stdin()))]);
    }
    interpreter.set_filenames(call.files.clone());
    let open = |name: &String| -> Result<Box<dyn BufRead>, String> {
        if name == "-" {
            return Ok(Box::new(BufReader::new(io::stdin())));
        }
        let file = File::open(name).map_err(|error| format!("cannot open {name}: {error}"))?;
        Ok(Box::new(BufReader::new(file)))
    };
    call.files.iter().map(open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &[&str]) -> Result<Call, String> {
        parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_may_stick_to_their_values() {
        let parsed = call(&["-F:", "-vx=a\\tb", "{print $1}", "y=2", "file"]).expect("it parses");
        assert_eq!(parsed.separator.as_deref(), Some(":"));
        assert_eq!(parsed.assignments[0], ("x".into(), "a\tb".into()));
        assert_eq!(parsed.assignments[1], ("y".into(), "2".into()));
        assert_eq!(parsed.files, ["file"]);
        assert!(call(&["1", "file", "y=2"]).is_err());
        assert!(call(&[]).is_err());
        assert_eq!(call(&["--", "1", "-"]).expect("it parses").files, ["-"]);
    }
}
