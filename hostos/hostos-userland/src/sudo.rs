//! `sudo COMMAND`: for units and people that say it out of habit.
//!
//! No program on a machine is set-uid. Root runs the command itself; anyone else asks the supervisor to
//! run it as a service of its own, and the supervisor decides by who asks: administrators may, others
//! may not. What the command reads and writes goes through pipes of this process, so it has no terminal.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread::JoinHandle;

use nix::sys::signal::{SigSet, Signal};
use units_api::{Client, ClientError, ErrorKind, Method, SOCKET};

const USAGE: &str = "Usage: sudo [-E] [-n] [-u USER] [NAME=VALUE]... COMMAND [ARGUMENT]...";

/// What is to be run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Call {
    user: Option<String>,
    keep_environment: bool,
    variables: Vec<String>,
    command: Vec<String>,
}

pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let words: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let call = match parse(&words) {
        Ok(call) => call,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    if call.command.is_empty() {
        // `sudo -v` and the like: nothing is asked for here.
        return ExitCode::SUCCESS;
    }
    if nix::unistd::geteuid().is_root() && call.user.as_deref().is_none_or(|user| user == "root") {
        let pairs = call.variables.iter().filter_map(|pair| pair.split_once('='));
        let error = Command::new(&call.command[0]).args(&call.command[1..]).envs(pairs).exec();
        return crate::failed("sudo", &format!("cannot run {}: {error}", call.command[0]));
    }
    match as_service(&call) {
        Ok(code) => ExitCode::from(code),
        Err(ClientError::Refused(error)) if error.kind == ErrorKind::AccessDenied => {
            crate::failed("sudo", "only the administrators of this machine, such as user core, may do that")
        }
        Err(error) => crate::failed("sudo", &error.to_string()),
    }
}

fn parse(words: &[String]) -> Result<Call, String> {
    let mut call = Call::default();
    let mut words = words.iter().peekable();
    let mut shell = false;
    while let Some(word) = words.next_if(|word| word.starts_with('-')) {
        match word.as_str() {
            "--" => break,
            "-n" | "-H" | "-S" | "-k" | "-K" | "-v" | "-b" | "--non-interactive" | "--set-home" => {}
            "-E" | "--preserve-env" => call.keep_environment = true,
            "-i" | "-s" | "--login" | "--shell" => shell = true,
            "-u" | "--user" => call.user = words.next().cloned(),
            "-g" | "-p" => drop(words.next()),
            other => match other.strip_prefix("-u").or_else(|| other.strip_prefix("--user=")) {
                Some(user) => call.user = Some(user.to_owned()),
                None => return Err(format!("sudo: there is no option `{other}`\n{USAGE}")),
            },
        }
    }
    while let Some(word) = words.next_if(|word| word.split_once('=').is_some_and(|(key, _)| is_name(key))) {
        call.variables.push(word.clone());
    }
    call.command = words.cloned().collect();
    if shell {
        let login = ["bash", "-l"].map(ToOwned::to_owned);
        call.command = match call.command.as_slice() {
            [] => login.to_vec(),
            command => [login.to_vec(), vec!["-c".to_owned(), command.join(" ")]].concat(),
        };
    }
    Ok(call)
}

fn is_name(key: &str) -> bool {
    !key.is_empty()
        && !key.starts_with(|c: char| c.is_ascii_digit())
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Has the supervisor run it, and copies what goes in and out. Returns its exit code.
fn as_service(call: &Call) -> Result<u8, ClientError> {
    // The threads to come must not take signals either.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        signals.add(signal);
    }
    signals.thread_block().map_err(io::Error::from)?;
    let mut client = Client::connect(Path::new(SOCKET), None)?;
    let (input, to_command) = io::pipe()?;
    let (from_out, output) = io::pipe()?;
    let (from_err, errors) = io::pipe()?;
    let own = std::process::id();
    let path = |fd: i32| format!("/proc/{own}/fd/{fd}");
    let text = unit(call, &path(input.as_raw_fd()), &path(output.as_raw_fd()), &path(errors.as_raw_fd()));
    let name = format!("sudo-{own}-{}.service", nix::unistd::getuid());
    client.submit(&name, &text)?;
    pass_signals_on(signals, &name);
    let started = client.start(&name, true);
    // The command has its own ends now; with these closed, its end is the end of the pipes.
    drop::<(OwnedFd, OwnedFd, OwnedFd)>((input.into(), output.into(), errors.into()));
    let code = match started {
        Ok(_) => {
            std::thread::spawn(move || copy(io::stdin(), to_command));
            let out = std::thread::spawn(move || copy(from_out, io::stdout()));
            copy(from_err, io::stderr());
            join(out);
            wait(&mut client, &name)
        }
        Err(error) => Err(error),
    };
    // Left behind it would only be a file below /run.
    let _ = client.call(Method::ResetFailed { units: vec![name.clone()] });
    let _ = client.remove(&name);
    code
}

fn join(thread: JoinHandle<()>) {
    // A thread that panicked has said so.
    let _ = thread.join();
}

fn copy(mut from: impl io::Read, mut to: impl io::Write) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut buffer) {
        // Whoever reads may have gone; the command learns it by its own pipe.
        if count == 0 || to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

fn pass_signals_on(signals: SigSet, name: &str) {
    let name = name.to_owned();
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            let units = vec![name.clone()];
            let kill = Method::Kill { units, signal: signal as i32, whom: "all".into() };
            let sent = Client::connect(Path::new(SOCKET), None).and_then(|mut client| client.call(kill));
            if sent.is_err() {
                std::process::exit(128 + signal as i32);
            }
        }
    });
}

/// The exit code of a service that has closed its output, once it has ended.
fn wait(client: &mut Client, name: &str) -> Result<u8, ClientError> {
    loop {
        let answer = client.call(Method::Show { unit: name.to_owned() })?;
        let properties = answer.properties.unwrap_or_default();
        let get = |key: &str| properties.get(key).map(String::as_str).unwrap_or_default();
        if ["inactive", "failed"].contains(&get("ActiveState")) {
            let status: u8 = get("ExecMainStatus").parse().unwrap_or(1);
            // 1 is an exit, 2 and 3 are signals.
            let killed = ["2", "3"].contains(&get("ExecMainCode"));
            return Ok(if killed { 128u8.saturating_add(status) } else { status });
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// The text of the service.
fn unit(call: &Call, input: &str, output: &str, errors: &str) -> String {
    let user = nix::unistd::getuid();
    let command: Vec<String> = call.command.iter().map(|word| quote(word)).collect();
    let mut text = format!(
        "[Unit]\nDescription=sudo for user {user}\nDefaultDependencies=no\n\n\
         [Service]\nType=exec\nExecStart=-:/usr/bin/env -- {}\nStandardInput=file:{input}\n\
         StandardOutput=file:{output}\nStandardError=file:{errors}\n",
        command.join(" ")
    );
    if let Ok(folder) = std::env::current_dir() {
        text.push_str(&format!("WorkingDirectory=-{}\n", folder.display().to_string().replace('%', "%%")));
    }
    if let Some(user) = &call.user {
        text.push_str(&format!("User={}\n", user.replace(['%', '\n'], "")));
    }
    let mut variables: Vec<String> =
        vec![format!("SUDO_UID={user}"), "HOME=/root".into(), "USER=root".into()];
    if call.keep_environment {
        variables.extend(
            std::env::vars().filter(|(key, _)| is_name(key)).map(|(key, value)| format!("{key}={value}")),
        );
    }
    variables.extend(call.variables.iter().cloned());
    for variable in variables {
        text.push_str(&format!("Environment={}\n", quote(&variable)));
    }
    text
}

/// A word as unit files want it, where `$` means nothing.
fn quote(word: &str) -> String {
    let mut quoted = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '%' => quoted.push_str("%%"),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &[&str]) -> Call {
        parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).expect("it parses")
    }

    #[test]
    fn flags_variables_and_the_command_are_told_apart() {
        let parsed = call(&["-n", "-u", "core", "A=1", "rm", "-rf", "B=2"]);
        assert_eq!(parsed.user.as_deref(), Some("core"));
        assert_eq!(parsed.variables, ["A=1"]);
        assert_eq!(parsed.command, ["rm", "-rf", "B=2"]);
        assert_eq!(call(&["-i"]).command, ["bash", "-l"]);
        assert_eq!(call(&["-i", "a", "b"]).command, ["bash", "-l", "-c", "a b"]);
        assert!(parse(&["--nonsense".to_owned()]).is_err());
    }

    #[test]
    fn words_arrive_as_they_were_written() {
        for word in ["plain", "with blank", "a\"b\\c", "100%", "$HOME ${X}", "two\nlines", ""] {
            let line = format!("-:/bin/echo {}", quote(word));
            let parsed = unit_file::parse_exec(&line, &|text| text.replace("%%", "%")).expect("it parses");
            let arguments = unit_file::expand_arguments(&parsed[0], &|_| None);
            assert_eq!(arguments.last().map(String::as_str), Some(word), "{line}");
        }
    }
}
