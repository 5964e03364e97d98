//! Docker's verbs for hosts without the stock client.
//!
//! It speaks to one engine over its unix socket (`DOCKER_HOST=unix://…` or /var/run/docker.sock) and prints
//! what the stock client prints. It does what units and admins need on a host; it knows no contexts, no TLS,
//! no plugins, no swarm. The engine's tests hold it against the stock client, line by line.

mod auth;
mod build;
mod config;
mod context;
mod cp;
mod describe;
mod df;
mod events;
mod flags;
mod format;
mod http;
mod images;
mod life;
mod line;
mod lists;
mod misuse;
mod mounts;
mod objects;
mod ports;
mod prune;
mod run;
mod stats;
mod streams;
mod terminal;
mod verbs;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command};
use flags::Options;
use http::{Client, Failure};
use verbs::Verb;

/// The command line, for help, man pages and completions.
pub fn command() -> Command {
    line::command(&verbs::verbs())
}

/// Runs the client.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let verbs = verbs::verbs();
    let mut docker = line::command(&verbs);
    if args.len() < 2 {
        quiet_stdout::put!("{}", docker.render_help());
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    match docker.try_get_matches_from_mut(args) {
        Ok(matches) => obey(&verbs, &mut docker, &matches),
        Err(error) => complain(&mut docker, &words, &error),
    }
}

fn complain(docker: &mut Command, words: &[String], error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            quiet_stdout::put!("{error}");
            ExitCode::SUCCESS
        }
        // A group without a verb.
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let path = path_of(docker, words);
            let group = path.iter().try_fold(&mut *docker, |command, name| command.find_subcommand_mut(name));
            if let Some(group) = group {
                eprint!("{}", group.render_help());
            }
            ExitCode::SUCCESS
        }
        _ => {
            let path = path_of(docker, words);
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let (text, code) = misuse::usage_words(docker, &path, error);
            eprintln!("{text}");
            ExitCode::from(code)
        }
    }
}

/// The verb that a command line which does not parse was meant for.
fn path_of(docker: &Command, words: &[String]) -> Vec<String> {
    let (mut path, mut command) = (Vec::new(), docker);
    let mut rest = words.iter().skip(1);
    while let Some(word) = rest.next() {
        match command.find_subcommand(word) {
            Some(below) => {
                path.push(word.clone());
                command = below;
            }
            None if path.is_empty() && (word == "-H" || word == "--host") => drop(rest.next()),
            None if path.is_empty() && word.starts_with('-') => {}
            None => break,
        }
    }
    path
}

fn obey(verbs: &[Verb], docker: &mut Command, matches: &ArgMatches) -> ExitCode {
    let (mut path, mut inner) = (Vec::new(), matches);
    while let Some((name, below)) = inner.subcommand() {
        path.push(name);
        inner = below;
    }
    let Some(asked) = line::find(verbs, &path) else {
        eprint!("{}", docker.render_help());
        return ExitCode::SUCCESS;
    };
    let verb = &verbs[asked.verb];
    let shorts = path.iter().try_fold(&*docker, |command, name| command.find_subcommand(name));
    let shorts: Vec<(String, char)> = shorts
        .into_iter()
        .flat_map(Command::get_arguments)
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), arg.get_short()?)))
        .collect();
    let options = Options::new(inner, &shorts);
    if let Some(words) = misuse::count_words(docker, &asked.path, verb.takes, options.args().len()) {
        eprintln!("{words}");
        return ExitCode::from(1);
    }
    let done =
        Client::open(matches.get_one::<String>("host")).and_then(|client| (verb.act)(&client, &options));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let (text, code) = explain(docker, &asked.path, verb.name, failure);
            if !text.is_empty() {
                eprintln!("{text}");
            }
            ExitCode::from(code)
        }
    }
}

/// A failure in the words of Docker's client, with its exit code.
fn explain(docker: &mut Command, path: &str, verb: &str, failure: Failure) -> (String, u8) {
    let with_help = |text: &str| format!("docker: {text}\n\nRun 'docker {path} --help' for more information");
    match failure {
        Failure::Flag(problem) => (misuse::flag_words(docker, path, &problem), 125),
        Failure::Ended { text, code } if verb != "run" => (text, code),
        Failure::Usage(text) if verb == "create" => (with_help(&text), 125),
        failure if verb == "run" => {
            let text = failure.to_string();
            (with_help(&text), run::exit_code(&text))
        }
        failure => (failure.to_string(), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
        for verb in verbs::verbs() {
            let path: Vec<&str> = verb.name.split(' ').collect();
            assert!(line::find(&verbs::verbs(), &path).is_some(), "{}", verb.name);
        }
    }

    #[test]
    fn wrong_use_is_answered_in_dockers_words() {
        for (line, expected, code) in [
            (
                "docker nonsense",
                "docker: unknown command: docker nonsense\n\nRun 'docker --help' for more information",
                1,
            ),
            (
                "docker network foo",
                "docker: unknown command: docker network foo\n\nUsage:  docker network\n\nRun 'docker network --help' for more information",
                1,
            ),
            (
                "docker ps --nope",
                "unknown flag: --nope\n\nUsage:  docker ps [OPTIONS]\n\nRun 'docker ps --help' for more information",
                125,
            ),
            (
                "docker ps -Z",
                "unknown shorthand flag: 'Z' in -Z\n\nUsage:  docker ps [OPTIONS]\n\nRun 'docker ps --help' for more information",
                125,
            ),
            (
                "docker run --name",
                "flag needs an argument: --name\n\nUsage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'docker run --help' for more information",
                125,
            ),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let mut docker = command();
            let error = docker.try_get_matches_from_mut(&words).unwrap_err();
            let path = path_of(&docker, &words);
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            assert_eq!(
                misuse::usage_words(&mut docker, &path, &error),
                (expected.to_owned(), code),
                "{line}"
            );
        }
    }
}
