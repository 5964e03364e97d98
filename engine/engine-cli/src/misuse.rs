//! The words of Docker's client for a command line that it does not take.

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::verbs::Takes;

/// How a verb is used, in one line.
fn usage(docker: &mut Command, path: &str) -> String {
    let find = |command, name| Command::find_subcommand_mut(command, name);
    let usage = path.split_whitespace().try_fold(docker, find).map(Command::render_usage);
    let usage = usage.map(|usage| usage.to_string()).unwrap_or_default();
    usage.trim_start_matches("Usage: ").trim().to_owned()
}

/// A flag that is wrong: the words of Docker's client.
pub(crate) fn flag_words(docker: &mut Command, path: &str, problem: &str) -> String {
    let usage = usage(docker, path);
    format!("{problem}\n\nUsage:  {usage}\n\nRun 'docker {path} --help' for more information")
}

/// Too few arguments or too many; nothing when their number is right.
pub(crate) fn count_words(docker: &mut Command, path: &str, takes: Takes, given: usize) -> Option<String> {
    let arguments = |n: usize| if n == 1 { "1 argument".to_owned() } else { format!("{n} arguments") };
    let (problem, look) = match takes {
        Takes::Nothing if given > 0 => ("accepts no arguments".into(), "Run"),
        Takes::Exactly(n) if given != n => (format!("requires {}", arguments(n)), "Run"),
        Takes::AtLeast(n) if given < n => (format!("requires at least {}", arguments(n)), "See"),
        Takes::AtMost(n) if given > n => (format!("requires at most {}", arguments(n)), "Run"),
        _ => return None,
    };
    let usage = usage(docker, path);
    Some(format!(
        "docker: 'docker {path}' {problem}\n\nUsage:  {usage}\n\n{look} 'docker {path} --help' for more information"
    ))
}

/// Clap's complaint in the words of Docker's client, with the exit code.
pub(crate) fn usage_words(docker: &mut Command, path: &[&str], error: &clap::Error) -> (String, u8) {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let path = path.join(" ");
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let unknown = context(ContextKind::InvalidSubcommand);
            let whole = if path.is_empty() { unknown } else { format!("{path} {unknown}") };
            let usage = if path.is_empty() { String::new() } else { format!("Usage:  docker {path}\n\n") };
            let below = if path.is_empty() { String::new() } else { format!("{path} ") };
            let text = format!(
                "docker: unknown command: docker {whole}\n\n{usage}Run 'docker {below}--help' for more information"
            );
            (text, 1)
        }
        ErrorKind::UnknownArgument => {
            let flag = context(ContextKind::InvalidArg);
            let problem = match flag.strip_prefix('-').filter(|rest| !rest.starts_with('-')) {
                Some(letters) => {
                    format!("unknown shorthand flag: '{}' in {flag}", letters.chars().next().unwrap_or(' '))
                }
                None => format!("unknown flag: {}", flag.split('=').next().unwrap_or_default()),
            };
            (flag_words(docker, &path, &problem), 125)
        }
        ErrorKind::InvalidValue | ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues => {
            let flag = context(ContextKind::InvalidArg);
            let flag = flag.split_whitespace().next().unwrap_or_default().to_owned();
            (flag_words(docker, &path, &format!("flag needs an argument: {flag}")), 125)
        }
        _ => (error.to_string().trim_end().to_owned(), 125),
    }
}
