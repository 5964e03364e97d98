//! `sed`: that of uutils, which wants a `;` between a substitution and the `}` of its block; others do not.

use std::ffi::OsString;

/// The arguments with such a `;` in each script among them.
pub(crate) fn with_closed_blocks(args: Vec<OsString>) -> Vec<OsString> {
    let mut fresh = Vec::with_capacity(args.len());
    let (mut given, mut script_next, mut value_next) = (false, false, false);
    for (index, arg) in args.into_iter().enumerate() {
        let Some(text) = arg.to_str().filter(|_| index > 0) else {
            fresh.push(arg);
            continue;
        };
        if std::mem::take(&mut value_next) {
            fresh.push(arg);
        } else if std::mem::take(&mut script_next) {
            fresh.push(closed(text).into());
        } else if let Some(script) = text.strip_prefix("--expression=") {
            given = true;
            fresh.push(format!("--expression={}", closed(script)).into());
        } else if text.starts_with('-') && text.len() > 1 {
            let letters = text.trim_start_matches('-');
            let short = !text.starts_with("--");
            // What follows `i` is its suffix, what follows `e` a script.
            let last = letters.find(['e', 'f', 'i', 'l']).filter(|_| short);
            match last.map(|at| letters.split_at(at + 1)) {
                Some((head, "")) if head.ends_with('e') => (given, script_next) = (true, true),
                Some((head, "")) if head.ends_with('f') => (given, value_next) = (true, true),
                Some((head, "")) if head.ends_with('l') => value_next = true,
                Some((head, script)) if head.ends_with('e') => {
                    given = true;
                    fresh.push(format!("-{head}{}", closed(script)).into());
                    continue;
                }
                Some((head, _)) if head.ends_with('f') => given = true,
                _ => given |= text.starts_with("--file") || text == "--expression",
            }
            fresh.push(arg);
        } else if given {
            fresh.push(arg);
        } else {
            given = true;
            fresh.push(closed(text).into());
        }
    }
    fresh
}

/// A script with a `;` before each `}` that directly follows `s` or `y`.
fn closed(script: &str) -> String {
    let mut out = String::with_capacity(script.len() + 4);
    let mut rest = script.chars().peekable();
    // Copies up to and with the next `end`, over whatever a backslash hides.
    macro_rules! copy_past {
        ($end:expr) => {
            while let Some(c) = rest.next() {
                out.push(c);
                if c == '\\' {
                    out.extend(rest.next());
                } else if c == $end {
                    break;
                }
            }
        };
    }
    while let Some(c) = rest.next() {
        out.push(c);
        match c {
            '/' => copy_past!('/'),
            '\\' => {
                if let Some(delimiter) = rest.next() {
                    out.push(delimiter);
                    copy_past!(delimiter);
                }
            }
            '#' | 'a' | 'i' | 'c' | 'r' | 'R' | 'w' | 'W' | ':' => copy_past!('\n'),
            'b' | 't' | 'T' | 'q' | 'Q' | 'l' | 'L' => {
                while let Some(c) = rest.next_if(|c| !matches!(c, ';' | '\n' | '}')) {
                    out.push(c);
                }
            }
            's' | 'y' => {
                let Some(delimiter) = rest.next() else { break };
                out.push(delimiter);
                copy_past!(delimiter);
                copy_past!(delimiter);
                while let Some(flag) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == ' ') {
                    out.push(flag);
                    if flag == 'w' {
                        copy_past!('\n');
                    }
                }
                if rest.peek() == Some(&'}') {
                    out.push(';');
                }
            }
            // Addresses, blocks, and commands of one letter.
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_closed_behind_a_substitution() {
        for (script, wanted) in [
            ("/a/{s/x/y/}", "/a/{s/x/y/;}"),
            ("/a}/{s,},/,g;y/}/x/ };p", "/a}/{s,},/,g;y/}/x/ ;};p"),
            ("s/a\\/}/b/;s/}/{/", "s/a\\/}/b/;s/}/{/"),
            ("1i\\\ns/x/y/}", "1i\\\ns/x/y/}"),
            (":a;N;$!ba;s/\\n/,/g", ":a;N;$!ba;s/\\n/,/g"),
            ("/x/{n;s/t/T/g}", "/x/{n;s/t/T/g;}"),
        ] {
            assert_eq!(closed(script), wanted);
        }
    }

    #[test]
    fn only_scripts_are_touched() {
        let line = |words: &[&str]| {
            let words = words.iter().map(OsString::from).collect();
            with_closed_blocks(words)
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(line(&["sed", "-n", "{s/a/b/}", "s/a/b/}"]), ["sed", "-n", "{s/a/b/;}", "s/a/b/}"]);
        assert_eq!(line(&["sed", "-ne", "{s/a/b/}", "f"]), ["sed", "-ne", "{s/a/b/;}", "f"]);
        assert_eq!(line(&["sed", "-i.e", "{s/a/b/}"]), ["sed", "-i.e", "{s/a/b/;}"]);
        assert_eq!(line(&["sed", "-f", "s/a/b/}", "x"]), ["sed", "-f", "s/a/b/}", "x"]);
    }
}
