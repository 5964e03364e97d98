//! Words that are no command of ours: what is said to them, and with which exit code.
//!
//! docker-machine ends with 1 where other programs end with 2, and its own sentences about names are
//! what scripts look for.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Prints why the words were not taken, or the help that was asked for.
pub(crate) fn tell(error: &clap::Error) -> ExitCode {
    match (error.kind(), sentence(error)) {
        (ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, _) => {
            let help = error.render().to_string();
            // The program's name alone: its help is the answer. A verb is missing: it is a reminder.
            if help.contains("rmachine [OPTIONS] <COMMAND>") {
                put!("{help}");
                return ExitCode::SUCCESS;
            }
            eprint!("{help}");
            ExitCode::FAILURE
        }
        // The elder prints its help before these, and nothing but these for the others.
        (ErrorKind::MissingRequiredArgument, Some(sentence)) => {
            eprintln!("{}\n\n{sentence}", usage(error));
            ExitCode::FAILURE
        }
        (_, Some(sentence)) => {
            eprintln!("{sentence}\nhint: {}", usage(error));
            ExitCode::FAILURE
        }
        _ => {
            // Nothing to be done if even that cannot be printed.
            let _ = error.print();
            if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}

/// What docker-machine says to too few or too many names.
fn sentence(error: &clap::Error) -> Option<&'static str> {
    let usage = usage(error);
    match error.kind() {
        ErrorKind::MissingRequiredArgument if usage.contains(" create ") => {
            Some("Error: No machine name specified")
        }
        ErrorKind::MissingRequiredArgument if usage.contains(" rm ") => {
            Some("Error: Expected to get one or more machine names as arguments")
        }
        ErrorKind::UnknownArgument if !is_flag(error) && usage.ends_with("[NAME]") => {
            Some("Error: Expected one machine name as an argument")
        }
        ErrorKind::UnknownArgument if !is_flag(error) => Some("Error: Too many arguments given"),
        _ => None,
    }
}

fn usage(error: &clap::Error) -> String {
    error.get(ContextKind::Usage).map(|usage| usage.to_string().trim().to_owned()).unwrap_or_default()
}

fn is_flag(error: &clap::Error) -> bool {
    matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(word)) if word.starts_with('-'))
}
