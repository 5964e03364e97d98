//! `ps`: the forms that scripts use, `ps`, `ps -e`, `ps -ef`, `ps aux`, `ps -p PID -o COLUMNS`.

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

use super::table::{self, Process};

/// Show processes
#[derive(Debug, Parser)]
#[command(name = "ps", args_override_self = true)]
struct Call {
    /// All of them
    #[arg(short = 'e', visible_short_alias = 'A')]
    every: bool,
    /// All with a terminal
    #[arg(short = 'a')]
    terminal: bool,
    /// With more columns
    #[arg(short = 'f')]
    full: bool,
    /// In wide lines, which they are anyway
    #[arg(short = 'w', action = clap::ArgAction::Count, hide = true)]
    wide: u8,
    /// These columns, each with `=HEADING` or not
    #[arg(short = 'o', long = "format", value_name = "COLUMNS")]
    format: Vec<String>,
    /// These processes
    #[arg(short = 'p', long = "pid", value_name = "PIDS")]
    pids: Vec<String>,
    /// Children of these
    #[arg(long, value_name = "PIDS")]
    ppid: Vec<String>,
    /// Processes of this name
    #[arg(short = 'C', value_name = "NAMES")]
    names: Vec<String>,
    /// Processes of these users
    #[arg(short = 'u', short_alias = 'U', long = "user", value_name = "USERS")]
    users: Vec<String>,
    /// No line of headings
    #[arg(long, visible_alias = "no-heading")]
    no_headers: bool,
}

/// What `ps`, `ps -f` and `ps aux` show.
const SHORT: &[&str] = &["pid", "tty", "time", "comm=CMD"];
const FULL: &[&str] = &["user=UID", "pid", "ppid", "etime", "tty", "time", "args=CMD"];
const AUX: &[&str] = &["user", "pid", "vsz", "rss", "tty", "stat", "etime", "time", "args=COMMAND"];

pub(crate) fn run(mut args: Vec<OsString>) -> ExitCode {
    let bsd = bsd_letters(&mut args);
    let call = match Call::try_parse_from(args) {
        Ok(call) => call,
        Err(usage) => return crate::misused(&usage),
    };
    let columns = match columns(&call, bsd.as_deref()) {
        Ok(columns) => columns,
        Err(unknown) => {
            let known: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
            let problem = format!("unknown column `{unknown}`; there are {}", known.join(" "));
            return crate::failed("ps", &problem);
        }
    };
    let shown: Vec<_> = table::all().into_iter().filter(|it| chosen(&call, bsd.as_deref(), it)).collect();
    let found = !shown.is_empty();
    print(&columns, &shown, call.no_headers);
    ExitCode::from(u8::from(!found))
}

/// Takes a first word without a dash, as in `ps aux`, from the arguments.
fn bsd_letters(args: &mut Vec<OsString>) -> Option<String> {
    let word = args.get(1)?.to_str()?;
    let letters = !word.is_empty() && word.chars().all(|c| "axuefwl".contains(c));
    letters.then(|| args.remove(1).to_string_lossy().into_owned())
}

fn chosen(call: &Call, bsd: Option<&str>, process: &Process) -> bool {
    let among =
        |lists: &[String], value: &str| lists.iter().any(|list| words(list).any(|word| word == value));
    let picks = [&call.pids, &call.ppid, &call.names, &call.users];
    if picks.iter().any(|pick| !pick.is_empty()) {
        let users = || call.users.iter().flat_map(|list| words(list)).filter_map(table::uid_of);
        return among(&call.pids, &process.pid.to_string())
            || among(&call.ppid, &process.parent.to_string())
            || among(&call.names, &process.name)
            || users().any(|uid| uid == process.uid);
    }
    if call.every || bsd.is_some_and(|letters| letters.contains('x')) {
        return true;
    }
    if call.terminal || bsd.is_some_and(|letters| letters.contains('a')) {
        return process.terminal != 0;
    }
    let own = table::read(nix::unistd::getpid().as_raw());
    own.is_some_and(|own| own.uid == process.uid && own.terminal == process.terminal)
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', ' ']).filter(|word| !word.is_empty())
}

type Show = fn(&Process) -> String;

struct Column {
    name: &'static str,
    heading: &'static str,
    /// Numbers stand at the right.
    right: bool,
    show: Show,
}

const COLUMNS: &[Column] = &[
    Column { name: "args", heading: "COMMAND", right: false, show: Process::command },
    Column { name: "cmd", heading: "CMD", right: false, show: Process::command },
    Column { name: "comm", heading: "COMMAND", right: false, show: |it| it.name.clone() },
    Column { name: "command", heading: "COMMAND", right: false, show: Process::command },
    Column { name: "etime", heading: "ELAPSED", right: true, show: |it| span(age(it)) },
    Column { name: "etimes", heading: "ELAPSED", right: true, show: |it| age(it).to_string() },
    Column { name: "gid", heading: "GID", right: true, show: |it| it.gid.to_string() },
    Column { name: "group", heading: "GROUP", right: false, show: |it| table::name_of("/etc/group", it.gid) },
    Column { name: "ni", heading: "NI", right: true, show: |it| it.nice.to_string() },
    Column { name: "nlwp", heading: "NLWP", right: true, show: |it| it.threads.to_string() },
    Column { name: "pgid", heading: "PGID", right: true, show: |it| it.group.to_string() },
    Column { name: "pid", heading: "PID", right: true, show: |it| it.pid.to_string() },
    Column { name: "ppid", heading: "PPID", right: true, show: |it| it.parent.to_string() },
    Column { name: "rss", heading: "RSS", right: true, show: |it| it.resident.to_string() },
    Column { name: "sid", heading: "SID", right: true, show: |it| it.session.to_string() },
    Column { name: "s", heading: "S", right: false, show: |it| it.state.to_string() },
    Column { name: "stat", heading: "STAT", right: false, show: stat },
    Column { name: "state", heading: "S", right: false, show: |it| it.state.to_string() },
    Column { name: "time", heading: "TIME", right: true, show: |it| clock(it.ticks / ticks_a_second()) },
    Column { name: "tty", heading: "TTY", right: false, show: |it| terminal(it.terminal) },
    Column { name: "uid", heading: "UID", right: true, show: |it| it.uid.to_string() },
    Column { name: "user", heading: "USER", right: false, show: |it| table::name_of("/etc/passwd", it.uid) },
    Column { name: "vsz", heading: "VSZ", right: true, show: |it| (it.size / 1024).to_string() },
];

/// Columns with their headings, or a word that names none.
fn columns(call: &Call, bsd: Option<&str>) -> Result<Vec<(&'static Column, String)>, String> {
    let mut wanted: Vec<String> = Vec::new();
    for list in &call.format {
        // A heading goes to the end of its list, commas included.
        let (list, heading) = match list.split_once('=') {
            Some((list, heading)) => (list, Some(heading)),
            None => (list.as_str(), None),
        };
        let mut names: Vec<String> = words(list).map(ToOwned::to_owned).collect();
        if let (Some(heading), Some(last)) = (heading, names.last_mut()) {
            let heading = heading.split(',').collect::<Vec<_>>();
            *last = format!("{last}={}", heading[0]);
            names.extend(heading[1..].iter().map(|name| name.trim_end_matches('=').to_owned() + "="));
        }
        wanted.extend(names);
    }
    if wanted.is_empty() {
        let default = match bsd {
            Some(letters) if letters.contains('u') => AUX,
            _ if call.full || bsd.is_some_and(|letters| letters.contains('f')) => FULL,
            _ => SHORT,
        };
        wanted = default.iter().map(|name| (*name).to_owned()).collect();
    }
    wanted
        .iter()
        .map(|word| {
            let (name, heading) = word.split_once('=').map_or((word.as_str(), None), |(n, h)| (n, Some(h)));
            let column = COLUMNS.iter().find(|column| column.name == name).ok_or(name)?;
            Ok((column, heading.unwrap_or(column.heading).to_owned()))
        })
        .collect::<Result<_, &str>>()
        .map_err(ToOwned::to_owned)
}

fn print(columns: &[(&Column, String)], shown: &[Process], no_headers: bool) {
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|process| columns.iter().map(|(column, _)| (column.show)(process)).collect())
        .collect();
    let headings = !no_headers && columns.iter().any(|(_, heading)| !heading.is_empty());
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| rows.iter().map(|row| row[at].len()).chain([columns[at].1.len()]).max().unwrap_or(0))
        .collect();
    let line = |cells: &[String]| {
        let mut text = String::new();
        for (at, cell) in cells.iter().enumerate() {
            let last = at + 1 == cells.len();
            text.push_str(&match (columns[at].0.right, last) {
                (true, _) => format!("{cell:>width$}", width = widths[at]),
                (false, true) => cell.clone(),
                (false, false) => format!("{cell:<width$}", width = widths[at]),
            });
            if !last {
                text.push(' ');
            }
        }
        text
    };
    let mut out = std::io::stdout().lock();
    if headings {
        let titles: Vec<_> = columns.iter().map(|(_, heading)| heading.clone()).collect();
        let _ = writeln!(out, "{}", line(&titles));
    }
    for row in &rows {
        if writeln!(out, "{}", line(row)).is_err() {
            break;
        }
    }
}

fn stat(process: &Process) -> String {
    let mut text = process.state.to_string();
    if process.nice < 0 {
        text.push('<');
    } else if process.nice > 0 {
        text.push('N');
    }
    if process.session == process.pid {
        text.push('s');
    }
    if process.threads > 1 {
        text.push('l');
    }
    text
}

/// The kernel counts in hundredths of a second for everyone outside it.
fn ticks_a_second() -> u64 {
    100
}

fn age(process: &Process) -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split('.').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    seconds.saturating_sub(process.started / ticks_a_second())
}

fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60 % 60, seconds / 3600 % 24, seconds / 86_400);
    match (days, hours) {
        (0, 0) => format!("{minutes:02}:{:02}", seconds % 60),
        (0, _) => format!("{hours:02}:{minutes:02}:{:02}", seconds % 60),
        _ => format!("{days}-{hours:02}:{minutes:02}:{:02}", seconds % 60),
    }
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Device numbers of the kernel's: 4 are consoles and serial lines, 136 and more are pseudo-terminals.
fn terminal(device: u32) -> String {
    let (major, minor) = ((device >> 8) & 0xFFF, (device & 0xFF) | ((device >> 12) & 0xF_FF00));
    match major {
        0 => "?".to_owned(),
        4 if minor >= 64 => format!("ttyS{}", minor - 64),
        4 => format!("tty{minor}"),
        5 => "console".to_owned(),
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &[&str]) -> (Call, Option<String>) {
        let mut args: Vec<OsString> = words.iter().map(Into::into).collect();
        let bsd = bsd_letters(&mut args);
        (Call::try_parse_from(args).expect("it parses"), bsd)
    }

    #[test]
    fn the_usual_forms_are_understood() {
        for words in
            [&["ps"][..], &["ps", "aux"], &["ps", "-ef"], &["ps", "auxww"], &["ps", "-eo", "pid,comm"]]
        {
            let (call, bsd) = call(words);
            assert!(columns(&call, bsd.as_deref()).is_ok(), "{words:?}");
        }
    }

    #[test]
    fn empty_headings_leave_the_line_out() {
        let (call, bsd) = call(&["ps", "-p", "1", "-o", "pid=,comm="]);
        let columns = columns(&call, bsd.as_deref()).expect("known columns");
        assert_eq!(columns.len(), 2);
        assert!(columns.iter().all(|(_, heading)| heading.is_empty()));
    }

    #[test]
    fn times_read_as_ps_writes_them() {
        assert_eq!(span(59), "00:59");
        assert_eq!(span(90_061), "1-01:01:01");
        assert_eq!(clock(3_661), "01:01:01");
        assert_eq!(terminal((136 << 8) | 3), "pts/3");
        assert_eq!(terminal((4 << 8) | 64), "ttyS0");
    }
}
