//! The `journalctl` applet: reads the journal's files, no supervisor needed.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::arguments::{Argument, split};
use crate::clock::wall_clock;
use crate::journal::{Filter, Reader, Stored, Transport};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Format {
    #[default]
    Short,
    ShortIso,
    ShortMonotonic,
    Json,
    Cat,
}

#[derive(Debug, Default)]
struct Call {
    dir: PathBuf,
    filter: Filter,
    format: Format,
    follow: bool,
    lines: Option<usize>,
    reverse: bool,
    quiet: bool,
    list_boots: bool,
    disk_usage: bool,
    boot: Option<String>,
}

const TAKE_VALUE: [&str; 17] = [
    "-u",
    "--unit",
    "-n",
    "--lines",
    "-o",
    "--output",
    "-S",
    "--since",
    "-U",
    "--until",
    "-p",
    "--priority",
    "-t",
    "--identifier",
    "-D",
    "--directory",
    "-g",
];

const HELP: &str = "\
journalctl [OPTION...]

  -u --unit=UNIT  -t --identifier=NAME  -k --dmesg  -b[=ID|OFFSET]  -p --priority=LEVEL
  -S --since=TIME  -U --until=TIME  -g TEXT  _PID=N
  -n --lines=N  -f --follow  -r --reverse  -q --quiet
  -o --output=short|short-iso|short-monotonic|json|cat
  --list-boots  --disk-usage  -D --directory=DIR
";

/// Where the journal is, unless it is said otherwise.
pub(crate) fn default_dir() -> PathBuf {
    std::env::var_os("UNITS_JOURNAL").map_or_else(|| "/var/log/journal".into(), PathBuf::from)
}

/// Runs the applet; `args[0]` is the program's name.
#[must_use]
pub fn journalctl(args: &[OsString]) -> ExitCode {
    let call = match parse(args.get(1..).unwrap_or_default()) {
        Ok(Some(call)) => call,
        Ok(None) => {
            let _ = std::io::stdout().write_all(HELP.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "journalctl: {message}");
            return ExitCode::FAILURE;
        }
    };
    match call.run() {
        // Whoever reads us may have seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            let _ = writeln!(std::io::stderr(), "journalctl: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn parse(args: &[OsString]) -> Result<Option<Call>, String> {
    let mut call = Call { dir: default_dir(), ..Call::default() };
    // -b and -n may stand without a value.
    let args: Vec<OsString> = bare_values(args);
    for argument in split(&args, &TAKE_VALUE)? {
        let (name, value) = match argument {
            Argument::Word(word) => {
                call.take_match(&word)?;
                continue;
            }
            Argument::Option(name, value) => (name, value),
        };
        let text = value.clone().unwrap_or_default();
        match name.as_str() {
            "-h" | "--help" => return Ok(None),
            "-u" | "--unit" => {
                let known =
                    text.rsplit_once('.').is_some_and(|(_, suffix)| !suffix.is_empty()) || text.contains('*');
                call.filter.units.push(if known { text } else { format!("{text}.service") });
            }
            "-t" | "--identifier" => call.filter.identifiers.push(text),
            "-k" | "--dmesg" => {
                call.filter.kernel = true;
                call.boot.get_or_insert_default();
            }
            "-b" | "--boot" => call.boot = Some(text),
            "-p" | "--priority" => call.filter.priority = Some(priorities(&text)?),
            "-S" | "--since" => {
                call.filter.since = Some(moment(&text).ok_or(format!("Failed to parse timestamp: {text}"))?)
            }
            "-U" | "--until" => {
                call.filter.until = Some(moment(&text).ok_or(format!("Failed to parse timestamp: {text}"))?)
            }
            "-g" | "--grep" => call.filter.contains = Some(text),
            "-n" | "--lines" if text == "all" => call.lines = None,
            "-n" | "--lines" => {
                call.lines = Some(text.parse().map_err(|_| format!("Failed to parse lines '{text}'"))?)
            }
            "-f" | "--follow" => call.follow = true,
            "-r" | "--reverse" => call.reverse = true,
            "-e" | "--pager-end" => call.lines = call.lines.or(Some(1000)),
            "-q" | "--quiet" => call.quiet = true,
            "-o" | "--output" => {
                call.format = match text.as_str() {
                    "short" | "short-precise" | "short-full" => Format::Short,
                    "short-iso" => Format::ShortIso,
                    "short-monotonic" => Format::ShortMonotonic,
                    "json" => Format::Json,
                    "cat" => Format::Cat,
                    _ => return Err(format!("Unknown output format '{text}'.")),
                };
            }
            "-D" | "--directory" => call.dir = text.into(),
            "--list-boots" => call.list_boots = true,
            "--disk-usage" => call.disk_usage = true,
            "--no-pager" | "-a" | "--all" | "-x" | "--no-hostname" | "--utc" | "-l" | "--full" | "-m"
            | "--merge" | "--system" => {}
            other => return Err(format!("unrecognized option '{other}'")),
        }
    }
    if call.follow && call.lines.is_none() {
        call.lines = Some(10);
    }
    Ok(Some(call))
}

/// `-n` without a number means 10, `-b` takes an id or offset only if one follows.
fn bare_values(args: &[OsString]) -> Vec<OsString> {
    let mut out: Vec<OsString> = Vec::new();
    let mut index = 0;
    while index < args.len() {
        let text = args[index].to_string_lossy().into_owned();
        let next = args.get(index + 1).map(|next| next.to_string_lossy().into_owned());
        let looks_like_number = |next: &String| {
            next == "all" || next.trim_start_matches(['+', '-']).chars().all(|c| c.is_ascii_digit())
        };
        match text.as_str() {
            "-n" | "--lines" if !next.as_ref().is_some_and(|n| looks_like_number(n) && !n.is_empty()) => {
                out.push("-n10".into())
            }
            "-b" | "--boot" => {
                let value = next.filter(|next| {
                    looks_like_number(next)
                        || (next.len() == 32 && next.chars().all(|c| c.is_ascii_hexdigit()))
                });
                index += usize::from(value.is_some());
                out.push(format!("--boot={}", value.unwrap_or_default()).into());
            }
            _ => out.push(args[index].clone()),
        }
        index += 1;
    }
    out
}

impl Call {
    /// `FIELD=value`.
    fn take_match(&mut self, word: &str) -> Result<(), String> {
        match word.split_once('=') {
            Some(("_SYSTEMD_UNIT" | "UNIT", value)) => self.filter.units.push(value.to_owned()),
            Some(("SYSLOG_IDENTIFIER", value)) => self.filter.identifiers.push(value.to_owned()),
            Some(("_PID", value)) => self.filter.pid = value.parse().ok(),
            Some(("_BOOT_ID", value)) => self.boot = Some(value.to_owned()),
            Some(("PRIORITY", value)) => {
                self.filter.priority = value.parse().ok().map(|level| (level, level))
            }
            _ => {
                return Err(format!(
                    "Failed to add match '{word}': known are _SYSTEMD_UNIT, SYSLOG_IDENTIFIER, _PID, _BOOT_ID and PRIORITY"
                ));
            }
        }
        Ok(())
    }

    fn run(mut self) -> std::io::Result<()> {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        if self.list_boots {
            let boots = Reader::new(&self.dir).boots();
            for (index, (boot, first, last)) in boots.iter().enumerate() {
                let offset = index.cast_signed() - boots.len().cast_signed() + 1;
                let (first, last) = (crate::show::timestamp(*first), crate::show::timestamp(*last));
                writeln!(out, "{offset:>3} {boot} {first}\u{2014}{last}")?;
            }
            return out.flush();
        }
        if self.disk_usage {
            let entries = std::fs::read_dir(&self.dir)?.flatten();
            let total: u64 = entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum();
            writeln!(out, "Journal takes up {:.1}M in the file system.", total as f64 / 1_048_576.0)?;
            return out.flush();
        }
        if let Some(boot) = &self.boot {
            self.filter.boot = Some(self.find_boot(boot)?);
        }
        let host = crate::host::host_name();
        let mut reader = Reader::new(&self.dir);
        let mut shown = false;
        let mut first: Vec<Stored> = Vec::new();
        match self.lines {
            Some(count) => first = reader.tail(&self.filter, count),
            None if self.reverse => reader.read(&self.filter, |stored| first.push(stored)),
            None => {
                let mut result = Ok(());
                reader.read(&self.filter, |stored| {
                    shown = true;
                    if result.is_ok() {
                        result = out.write_all(self.render(&stored, &host).as_bytes());
                    }
                });
                result?;
            }
        }
        if self.reverse {
            first.reverse();
        }
        for stored in &first {
            out.write_all(self.render(stored, &host).as_bytes())?;
        }
        if !shown && first.is_empty() && !self.quiet && !self.follow {
            writeln!(out, "-- No entries --")?;
        }
        out.flush()?;
        if !self.follow {
            return Ok(());
        }
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let mut result = Ok(());
            reader.read(&self.filter, |stored| {
                if result.is_ok() {
                    result = out.write_all(self.render(&stored, &host).as_bytes());
                }
            });
            result?;
            out.flush()?;
        }
    }

    /// A boot by id, by offset (0 this one, -1 the one before), or this one.
    fn find_boot(&self, text: &str) -> std::io::Result<String> {
        if text.len() == 32 {
            return Ok(text.to_owned());
        }
        let offset: isize = if text.is_empty() { 0 } else { text.parse().map_err(std::io::Error::other)? };
        if offset == 0 {
            return Ok(crate::host::boot_id());
        }
        let boots = Reader::new(&self.dir).boots();
        let index = if offset > 0 { offset - 1 } else { boots.len().cast_signed() - 1 + offset };
        let found = usize::try_from(index).ok().and_then(|index| boots.get(index));
        found
            .map(|(boot, _, _)| boot.clone())
            .ok_or_else(|| std::io::Error::other(format!("no boot {offset} in the journal")))
    }

    fn render(&self, stored: &Stored, host: &str) -> String {
        let entry = &stored.entry;
        match self.format {
            Format::Short => short(stored, host),
            Format::Cat => format!("{}\n", entry.message),
            Format::Json => json(stored, host),
            Format::ShortIso => {
                let format =
                    time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]+0000");
                line(&stamp(entry.realtime, &format), stored, host)
            }
            Format::ShortMonotonic => {
                let stamp =
                    format!("[{:>5}.{:06}]", entry.monotonic / 1_000_000, entry.monotonic % 1_000_000);
                line(&stamp, stored, host)
            }
        }
    }
}

/// `Nov 21 23:18:30 host sh[7]: message`.
pub(crate) fn short(stored: &Stored, host: &str) -> String {
    let format = time::macros::format_description!("[month repr:short] [day] [hour]:[minute]:[second]");
    line(&stamp(stored.entry.realtime, &format), stored, host)
}

fn line(stamp: &str, stored: &Stored, host: &str) -> String {
    let entry = &stored.entry;
    let pid = if entry.pid == 0 { String::new() } else { format!("[{}]", entry.pid) };
    format!("{stamp} {host} {}{pid}: {}\n", entry.identifier, entry.message)
}

fn stamp(micros: u64, format: &(impl time::formatting::Formattable + ?Sized)) -> String {
    let seconds = i64::try_from(micros / 1_000_000).unwrap_or(0);
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|at| at.format(format).ok())
        .unwrap_or_default()
}

fn json(stored: &Stored, host: &str) -> String {
    let entry = &stored.entry;
    let mut fields = serde_json::json!({
        "__REALTIME_TIMESTAMP": entry.realtime.to_string(),
        "__MONOTONIC_TIMESTAMP": entry.monotonic.to_string(),
        "_BOOT_ID": stored.boot,
        "_HOSTNAME": host,
        "_TRANSPORT": entry.transport.name(),
        "PRIORITY": entry.priority.to_string(),
        "SYSLOG_IDENTIFIER": entry.identifier,
        "MESSAGE": entry.message,
    });
    if entry.pid != 0 {
        fields["_PID"] = entry.pid.to_string().into();
    }
    if !entry.unit.is_empty() {
        // What is said about a unit is not said by it.
        let key = if entry.transport == Transport::Supervisor { "UNIT" } else { "_SYSTEMD_UNIT" };
        fields[key] = entry.unit.clone().into();
    }
    format!("{fields}\n")
}

fn priorities(text: &str) -> Result<(u8, u8), String> {
    const NAMES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    let one = |text: &str| {
        let by_name = NAMES.iter().position(|name| *name == text).and_then(|index| u8::try_from(index).ok());
        by_name
            .or_else(|| text.parse().ok().filter(|level| *level < 8))
            .ok_or(format!("Unknown log level {text}"))
    };
    match text.split_once("..") {
        Some((from, to)) => Ok((one(from)?.min(one(to)?), one(from)?.max(one(to)?))),
        None => Ok((0, one(text)?)),
    }
}

/// `2026-11-21 23:18:30`, `2026-11-21`, `23:18`, `yesterday`, `today`, `now`, `-1h`, `1 hour ago`, `@SECONDS`.
fn moment(text: &str) -> Option<u64> {
    let now = wall_clock();
    let day = 86_400_000_000;
    let midnight = now - now % day;
    let text = text.trim();
    match text {
        "now" => return Some(now),
        "today" => return Some(midnight),
        "yesterday" => return Some(midnight - day),
        "tomorrow" => return Some(midnight + day),
        _ => {}
    }
    if let Some(seconds) = text.strip_prefix('@') {
        return seconds.parse::<u64>().ok()?.checked_mul(1_000_000);
    }
    let span = |text: &str| match unit_file::parse_span(text, Duration::from_secs(1))? {
        unit_file::TimeSpan::Finite(span) => u64::try_from(span.as_micros()).ok(),
        unit_file::TimeSpan::Infinite => None,
    };
    if let Some(back) = text.strip_suffix(" ago").or_else(|| text.strip_prefix('-')) {
        return Some(now.saturating_sub(span(back)?));
    }
    if let Some(ahead) = text.strip_prefix('+') {
        return Some(now.saturating_add(span(ahead)?));
    }
    // A date alone is its midnight, a time alone is today's: what calendars need to be told.
    let full = match (text.contains('-'), text.contains(':')) {
        (true, _) => text.replacen('T', " ", 1).trim_end_matches(['Z']).trim_end_matches(" UTC").to_owned(),
        (false, true) => {
            let date = crate::show::timestamp(now);
            format!("{} {text}", date.split(' ').nth(1)?)
        }
        (false, false) => return None,
    };
    let calendar: unit_file::Calendar = full.parse().ok()?;
    calendar.next_after(-1).and_then(|at| u64::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(moment("2026-11-21 23:18:30"), Some(1_795_303_110_000_000));
        assert_eq!(moment("2026-11-21"), Some(1_795_219_200_000_000));
        assert_eq!(moment("@5"), Some(5_000_000));
        assert!(moment("1 hour ago").expect("valid") < wall_clock() - 3_599_000_000);
        assert!(moment("-5min").expect("valid") > wall_clock() - 301_000_000);
        assert_eq!((moment("soon"), moment("")), (None, None));
        assert_eq!(priorities("err"), Ok((0, 3)));
        assert_eq!(priorities("info..err"), Ok((3, 6)));
    }

    #[test]
    fn options_without_values() {
        let call = |args: &[&str]| {
            parse(&args.iter().map(OsString::from).collect::<Vec<_>>()).expect("valid").expect("a call")
        };
        assert_eq!(call(&["-n", "-u", "a"]).lines, Some(10));
        assert_eq!(call(&["-n", "3", "-f"]).lines, Some(3));
        assert_eq!(call(&["-b", "-u", "a"]).boot.as_deref(), Some(""));
        assert_eq!(call(&["-b", "-1"]).boot.as_deref(), Some("-1"));
        assert_eq!(call(&["-u", "a", "-u", "b.timer"]).filter.units, ["a.service", "b.timer"]);
    }
}
