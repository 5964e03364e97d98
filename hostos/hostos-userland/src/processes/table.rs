//! The processes of the machine, as /proc shows them.

use std::fs;

/// One process.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) state: char,
    /// Device number of its terminal, 0 if it has none.
    pub(super) terminal: u32,
    pub(super) nice: i32,
    pub(super) threads: u32,
    /// Ticks on a processor.
    pub(super) ticks: u64,
    /// Ticks after the start of the kernel.
    pub(super) started: u64,
    /// Bytes.
    pub(super) size: u64,
    /// KiB.
    pub(super) resident: u64,
    /// Name of at most 15 bytes.
    pub(super) name: String,
    /// Arguments; none for a thread of the kernel's.
    pub(super) arguments: Vec<String>,
}

impl Process {
    /// What runs, in one line.
    pub(super) fn command(&self) -> String {
        if self.arguments.is_empty() { format!("[{}]", self.name) } else { self.arguments.join(" ") }
    }
}

/// Every process, sorted by its number.
pub(super) fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut all: Vec<_> = pids.filter_map(read).collect();
    all.sort_by_key(|process| process.pid);
    all
}

/// One process; nothing if it has ended.
pub(super) fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut process = parse(&stat)?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.split(':').next() == Some(name))?;
        line.split(':').nth(1)?.split_whitespace().next()?.parse::<u64>().ok()
    };
    process.uid = u32::try_from(field("Uid")?).ok()?;
    process.gid = u32::try_from(field("Gid")?).ok()?;
    process.resident = field("VmRSS").unwrap_or(0);
    let words = String::from_utf8_lossy(&words);
    let words = words.trim_end_matches('\0');
    if !words.is_empty() {
        process.arguments = words.split('\0').map(ToOwned::to_owned).collect();
    }
    Some(process)
}

/// The fields of /proc/PID/stat. The name stands in parentheses and may hold some itself.
fn parse(stat: &str) -> Option<Process> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| words.get(at)?.parse::<i64>().ok();
    Some(Process {
        pid: pid.parse().ok()?,
        name: name.to_owned(),
        state: words.first()?.chars().next()?,
        parent: i32::try_from(number(1)?).ok()?,
        group: i32::try_from(number(2)?).ok()?,
        session: i32::try_from(number(3)?).ok()?,
        terminal: u32::try_from(number(4)?).unwrap_or(0),
        ticks: u64::try_from(number(11)? + number(12)?).ok()?,
        nice: i32::try_from(number(16)?).ok()?,
        threads: u32::try_from(number(17)?).ok()?,
        started: u64::try_from(number(19)?).ok()?,
        size: u64::try_from(number(20)?).ok()?,
        ..Process::default()
    })
}

/// The name of a user or group of /etc/passwd or /etc/group, else its number.
pub(super) fn name_of(file: &str, id: u32) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| id.to_string())
}

/// The number of a user, by name or number.
pub(super) fn uid_of(user: &str) -> Option<u32> {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then(|| fields.nth(1)?.parse().ok())?
    });
    found.or_else(|| user.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) (b) S 1 7 7 0 -1 4194560 1 0 0 0 3 4 0 0 20 0 1 0 99 4096 1 0";
        let process = parse(stat).expect("it parses");
        assert_eq!((process.pid, process.name.as_str(), process.parent), (7, "a) (b", 1));
        assert_eq!((process.ticks, process.started, process.size), (7, 99, 4096));
    }

    #[test]
    fn this_process_is_found() {
        let own = i32::try_from(std::process::id()).expect("a small number");
        let process = all().into_iter().find(|process| process.pid == own).expect("it runs");
        assert!(process.command().contains("hostos"), "{process:?}");
        assert_eq!(process.uid, nix::unistd::getuid().as_raw());
    }
}
