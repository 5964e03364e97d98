//! Words to the supervisor and the journal: `systemd-notify`, `logger`, `systemd-cat`.

use std::ffi::OsString;
use std::io::{self, BufRead as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;

const LOG: &str = "/dev/log";

/// Tell the supervisor how a service is
#[derive(Debug, Parser)]
#[command(name = "systemd-notify")]
struct Notify {
    /// It is up
    #[arg(long)]
    ready: bool,
    /// It is reloading
    #[arg(long)]
    reloading: bool,
    /// It is going down
    #[arg(long)]
    stopping: bool,
    /// What it is doing
    #[arg(long, value_name = "TEXT")]
    status: Option<String>,
    /// Its main process, this one's parent if no number is given
    #[arg(long, value_name = "PID", num_args = 0..=1, require_equals = true)]
    pid: Option<Option<u32>>,
    /// Say whether the machine was started by this supervisor
    #[arg(long)]
    booted: bool,
    /// Anything else, such as WATCHDOG=1
    variables: Vec<String>,
}

/// `systemd-notify --ready`.
pub(crate) fn notify(args: Vec<OsString>) -> ExitCode {
    let call = match Notify::try_parse_from(args) {
        Ok(call) => call,
        Err(usage) => return crate::misused(&usage),
    };
    if call.booted {
        return ExitCode::from(u8::from(!std::path::Path::new("/run/systemd/system").is_dir()));
    }
    let mut lines = Vec::new();
    let states = [(call.ready, "READY=1"), (call.reloading, "RELOADING=1"), (call.stopping, "STOPPING=1")];
    lines.extend(states.iter().filter(|(given, _)| *given).map(|(_, line)| (*line).to_owned()));
    lines.extend(call.status.map(|status| format!("STATUS={status}")));
    if let Some(pid) = call.pid {
        let parent = u32::try_from(nix::unistd::getppid().as_raw()).unwrap_or(0);
        lines.push(format!("MAINPID={}", pid.unwrap_or(parent)));
    }
    lines.extend(call.variables);
    if lines.is_empty() {
        return crate::failed("systemd-notify", "say what to tell, such as --ready");
    }
    let Some(path) = std::env::var("NOTIFY_SOCKET").ok().filter(|path| !path.is_empty()) else {
        return crate::failed("systemd-notify", "NOTIFY_SOCKET is not set: the unit has no NotifyAccess=");
    };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address.and_then(|address| {
        UnixDatagram::unbound()?.send_to_addr(lines.join("\n").as_bytes(), &address).map(drop)
    });
    match sent {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::failed("systemd-notify", &format!("{path}: {error}")),
    }
}

/// Write a line to the journal
#[derive(Debug, Parser)]
#[command(name = "logger")]
struct Logger {
    /// Who says it
    #[arg(short = 't', long, value_name = "NAME")]
    tag: Option<String>,
    /// FACILITY.LEVEL or LEVEL
    #[arg(short = 'p', long, value_name = "PRIORITY", default_value = "user.notice")]
    priority: String,
    /// Say it on the standard error as well
    #[arg(short = 's', long)]
    stderr: bool,
    /// With the number of the process
    #[arg(short = 'i', long)]
    id: bool,
    /// Read it from this file
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<String>,
    /// What to say; else every line of the standard input
    text: Vec<String>,
}

/// `logger -t NAME TEXT`.
pub(crate) fn logger(args: Vec<OsString>) -> ExitCode {
    let call = match Logger::try_parse_from(args) {
        Ok(call) => call,
        Err(usage) => return crate::misused(&usage),
    };
    let Some(number) = priority(&call.priority) else {
        return crate::failed("logger", &format!("there is no priority `{}`", call.priority));
    };
    let tag = call.tag.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "root".into());
    let id = if call.id { format!("[{}]", std::process::id()) } else { String::new() };
    let say = |line: &str| -> io::Result<()> {
        if call.stderr {
            eprintln!("{tag}{id}: {line}");
        }
        UnixDatagram::unbound()?.send_to(format!("<{number}>{tag}{id}: {line}").as_bytes(), LOG).map(drop)
    };
    let said = match (&call.file, call.text.is_empty()) {
        (Some(file), _) => std::fs::read_to_string(file).and_then(|text| text.lines().try_for_each(say)),
        (None, true) => io::stdin().lock().lines().try_for_each(|line| say(&line?)),
        (None, false) => say(&call.text.join(" ")),
    };
    match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::failed("logger", &format!("{LOG}: {error}")),
    }
}

/// `systemd-cat COMMAND`: what the command says goes to the journal, line by line.
pub(crate) fn cat(args: Vec<OsString>) -> ExitCode {
    let mut words = args.into_iter().skip(1).peekable();
    let (mut tag, mut level) = (None, "info".to_owned());
    while let Some(word) = words.peek().and_then(|word| word.to_str()).map(ToOwned::to_owned) {
        let (flag, stuck) =
            word.split_once('=').map_or((word.as_str(), None), |(f, v)| (f, Some(v.to_owned())));
        if !["-t", "--identifier", "-p", "--priority"].contains(&flag) {
            break;
        }
        words.next();
        let value = stuck.or_else(|| words.next().map(|value| value.to_string_lossy().into_owned()));
        match (flag, value) {
            ("-t" | "--identifier", value) => tag = value,
            (_, Some(value)) => level = value,
            (_, None) => {}
        }
    }
    let command: Vec<OsString> = words.collect();
    let number = priority(&level).unwrap_or(14);
    let tag =
        tag.unwrap_or_else(|| command.first().map_or("cat".into(), |word| word.to_string_lossy().into()));
    let log = |line: &str| {
        // Without a journal the line is at least not lost.
        let sent = UnixDatagram::unbound()
            .and_then(|socket| socket.send_to(format!("<{number}>{tag}: {line}").as_bytes(), LOG));
        if sent.is_err() {
            let _ = writeln!(io::stderr(), "{line}");
        }
    };
    let Some((program, rest)) = command.split_first() else {
        io::stdin().lock().lines().map_while(Result::ok).for_each(|line| log(&line));
        return ExitCode::SUCCESS;
    };
    let spawned = io::pipe().and_then(|(reader, writer)| {
        let other = writer.try_clone()?;
        let child =
            Command::new(program).args(rest).stdin(Stdio::inherit()).stdout(writer).stderr(other).spawn()?;
        Ok((reader, child))
    });
    let (reader, mut child) = match spawned {
        Ok(spawned) => spawned,
        Err(error) => {
            return crate::failed("systemd-cat", &format!("cannot run {}: {error}", program.display()));
        }
    };
    io::BufReader::new(reader).lines().map_while(Result::ok).for_each(|line| log(&line));
    match child.wait() {
        Ok(status) => ExitCode::from(crate::exit_code(status)),
        Err(error) => crate::failed("systemd-cat", &error.to_string()),
    }
}

const FACILITIES: &[&str] =
    &["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"];
const LEVELS: &[&str] = &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// The number of `daemon.err`, of `err`, or a number itself.
fn priority(text: &str) -> Option<usize> {
    let (facility, level) = text.split_once('.').unwrap_or(("user", text));
    let level = match level {
        "panic" => "emerg",
        "error" => "err",
        "warn" => "warning",
        other => other,
    };
    let level =
        LEVELS.iter().position(|name| *name == level).or_else(|| level.parse().ok().filter(|n| *n < 8))?;
    let local = || facility.strip_prefix("local")?.parse::<usize>().ok().filter(|n| *n < 8).map(|n| n + 16);
    let facility = FACILITIES.iter().position(|name| *name == facility).or_else(local)?;
    Some(facility * 8 + level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_go_by_name_and_number() {
        assert_eq!(priority("user.notice"), Some(13));
        assert_eq!(priority("err"), Some(11));
        assert_eq!(priority("local7.debug"), Some(191));
        assert_eq!(priority("daemon.4"), Some(28));
        assert_eq!(priority("nobody.err"), None);
    }
}
