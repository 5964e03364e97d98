//! `pgrep`, `pkill` and `killall`: processes found by name, shown or signalled.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regex::Regex;

use super::table::{self, Process};

/// Find processes by name
#[derive(Debug, Parser)]
#[command(name = "pgrep", disable_version_flag = true)]
struct Call {
    /// Match all of the command line, not only the name
    #[arg(short = 'f', long)]
    full: bool,
    /// Match the whole of it
    #[arg(short = 'x', long)]
    exact: bool,
    /// Upper and lower case are the same
    #[arg(short = 'i', long)]
    ignore_case: bool,
    /// Those that do not match
    #[arg(short = 'v', long)]
    inverse: bool,
    /// Only the newest
    #[arg(short = 'n', long)]
    newest: bool,
    /// Only the oldest
    #[arg(short = 'o', long, conflicts_with = "newest")]
    oldest: bool,
    /// Of these users
    #[arg(short = 'u', long = "euid", short_alias = 'U', value_name = "USERS", value_delimiter = ',')]
    users: Vec<String>,
    /// Children of these
    #[arg(short = 'P', long, value_name = "PIDS", value_delimiter = ',')]
    parent: Vec<i32>,
    /// Say the name too
    #[arg(short = 'l', long)]
    list_name: bool,
    /// Say the command line too
    #[arg(short = 'a', long)]
    list_full: bool,
    /// Say how many
    #[arg(short = 'c', long)]
    count: bool,
    /// Between the numbers
    #[arg(short = 'd', long, default_value = "\n")]
    delimiter: String,
    /// Say what is signalled
    #[arg(short = 'e', long)]
    echo: bool,
    /// Send this signal
    #[arg(long, value_name = "SIGNAL", default_value = "TERM")]
    signal: String,
    /// A regular expression
    pattern: Option<String>,
}

const NOTHING: u8 = 1;
const MISUSED: u8 = 2;

pub(crate) fn pgrep(args: Vec<OsString>) -> ExitCode {
    let (call, found) = match look("pgrep", args) {
        Ok(looked) => looked,
        Err(code) => return code,
    };
    if call.count {
        println!("{}", found.len());
    } else {
        let words: Vec<String> = found.iter().map(|process| shown(&call, process)).collect();
        if !words.is_empty() {
            println!("{}", words.join(&call.delimiter));
        }
    }
    ExitCode::from(if found.is_empty() { NOTHING } else { 0 })
}

pub(crate) fn pkill(args: Vec<OsString>) -> ExitCode {
    let (call, found) = match look("pkill", args) {
        Ok(looked) => looked,
        Err(code) => return code,
    };
    let Some(signal) = parse_signal(&call.signal) else {
        eprintln!("pkill: there is no signal `{}`", call.signal);
        return ExitCode::from(MISUSED);
    };
    let mut sent = 0;
    for process in &found {
        match kill(Pid::from_raw(process.pid), signal) {
            Ok(()) => {
                sent += 1;
                if call.echo {
                    println!("{} killed (pid {})", process.name, process.pid);
                }
            }
            Err(error) => {
                let why = error.desc().to_lowercase();
                eprintln!("pkill: cannot signal process {}: {why}", process.pid);
            }
        }
    }
    ExitCode::from(if sent == 0 { NOTHING } else { 0 })
}

/// `killall NAME...`: every process of just that name.
pub(crate) fn killall(args: Vec<OsString>) -> ExitCode {
    let mut signal = Some(Signal::SIGTERM);
    let mut quiet = false;
    let mut names = Vec::new();
    let mut words = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        match word.as_str() {
            "-q" | "--quiet" => quiet = true,
            "-s" | "--signal" => signal = words.next().and_then(|name| parse_signal(&name)).unwrap_or(None),
            "-w" | "--wait" | "-e" | "--exact" => {}
            word if word.starts_with('-') && word.len() > 1 => match parse_signal(&word[1..]) {
                Some(given) => signal = given,
                None => {
                    eprintln!("Usage: killall [-q] [-SIGNAL] NAME...");
                    return ExitCode::FAILURE;
                }
            },
            name => names.push(name.to_owned()),
        }
    }
    if names.is_empty() {
        eprintln!("Usage: killall [-q] [-SIGNAL] NAME...");
        return ExitCode::FAILURE;
    }
    let own = nix::unistd::getpid().as_raw();
    let all = table::all();
    let mut code = ExitCode::SUCCESS;
    for name in names {
        let mut sent = 0;
        for process in all.iter().filter(|process| process.pid != own && is_called(process, &name)) {
            sent += usize::from(kill(Pid::from_raw(process.pid), signal).is_ok());
        }
        if sent == 0 {
            code = ExitCode::FAILURE;
            if !quiet {
                eprintln!("{name}: no process found");
            }
        }
    }
    code
}

/// The kernel keeps only 15 bytes of a name; the first argument may know the rest.
fn is_called(process: &Process, name: &str) -> bool {
    let program = process.arguments.first().and_then(|path| path.rsplit('/').next());
    process.name == name || name.len() > 15 && program == Some(name)
}

/// The processes that a call means; never the one that looks.
fn look(program: &str, mut args: Vec<OsString>) -> Result<(Call, Vec<Process>), ExitCode> {
    take_signal(&mut args);
    let call = Call::try_parse_from(args).map_err(|usage| crate::misused(&usage))?;
    let misused = |problem: &str| {
        eprintln!("{program}: {problem}");
        ExitCode::from(MISUSED)
    };
    if call.pattern.is_none() && call.users.is_empty() && call.parent.is_empty() {
        return Err(misused("no matching criteria specified"));
    }
    let uids: Vec<u32> = call.users.iter().filter_map(|user| table::uid_of(user)).collect();
    if uids.len() < call.users.len() {
        return Err(misused("no such user"));
    }
    let text = call.pattern.clone().unwrap_or_default();
    let text = if call.exact { format!("^(?:{text})$") } else { text };
    let text = if call.ignore_case { format!("(?i){text}") } else { text };
    let pattern = Regex::new(&text).map_err(|_| misused(&format!("`{text}` is no regular expression")))?;
    let own = nix::unistd::getpid().as_raw();
    let mut found = table::all();
    found.retain(|process| {
        let command = process.command();
        let subject = if call.full { command.as_str() } else { process.name.as_str() };
        let matches = pattern.is_match(subject)
            && (uids.is_empty() || uids.contains(&process.uid))
            && (call.parent.is_empty() || call.parent.contains(&process.parent));
        process.pid != own && matches != call.inverse
    });
    found.sort_by_key(|process| (process.started, process.pid));
    if call.newest {
        found = found.pop().into_iter().collect();
    } else if call.oldest {
        found.truncate(1);
    }
    found.sort_by_key(|process| process.pid);
    Ok((call, found))
}

/// `-9` and `-HUP` become `--signal`.
fn take_signal(args: &mut Vec<OsString>) {
    let at = args.iter().position(|arg| {
        let word = arg.to_str().and_then(|word| word.strip_prefix('-')).unwrap_or_default();
        let signal = word.starts_with(|c: char| c.is_ascii_digit() || c.is_ascii_uppercase())
            && word.len() > 1
            || word.len() == 1 && word.starts_with(|c: char| c.is_ascii_digit());
        signal && parse_signal(word).is_some()
    });
    if let Some(at) = at.filter(|at| *at > 0) {
        let name = args[at].to_string_lossy()[1..].to_owned();
        args.splice(at..=at, [OsString::from("--signal"), OsString::from(name)]);
    }
}

/// A signal by name or number; 0 only asks whether it could be sent.
#[expect(clippy::option_option, reason = "no such signal, and no signal at all, are different answers")]
fn parse_signal(text: &str) -> Option<Option<Signal>> {
    if let Ok(number) = text.parse::<i32>() {
        return if number == 0 { Some(None) } else { Signal::try_from(number).ok().map(Some) };
    }
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    name.parse().ok().map(Some)
}

fn shown(call: &Call, process: &Process) -> String {
    if call.list_full {
        format!("{} {}", process.pid, process.command())
    } else if call.list_name {
        format!("{} {}", process.pid, process.name)
    } else {
        process.pid.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn signals_go_by_name_and_number() {
        assert_eq!(parse_signal("9"), Some(Some(Signal::SIGKILL)));
        assert_eq!(parse_signal("hup"), Some(Some(Signal::SIGHUP)));
        assert_eq!(parse_signal("0"), Some(None));
        assert_eq!(parse_signal("nonsense"), None);
        let mut args: Vec<OsString> = ["pkill", "-HUP", "-x", "name"].map(Into::into).to_vec();
        take_signal(&mut args);
        assert_eq!(args, ["pkill", "--signal", "HUP", "-x", "name"]);
    }

    #[test]
    fn a_child_is_found_by_its_arguments_and_ended() {
        let mark = format!("86399.{}", std::process::id());
        let mut child = Command::new("sleep").arg(&mark).spawn().expect("it starts");
        let pattern = format!("sleep {}", mark.replace('.', "[.]"));
        let args = |program: &str| [program, "-f", &pattern].map(OsString::from).to_vec();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            let (_, found) = look("pgrep", args("pgrep")).expect("it looks");
            if found.iter().any(|process| u32::try_from(process.pid) == Ok(child.id())) {
                break;
            }
            assert!(std::time::Instant::now() < end, "it was not found");
        }
        pkill(args("pkill"));
        assert!(!child.wait().expect("it ends").success());
    }
}
