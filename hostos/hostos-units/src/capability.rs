//! Names of capabilities and sets of them as bits.

use crate::config::Section;

const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// All known capabilities.
pub(crate) const ALL: u64 = (1 << NAMES.len()) - 1;

/// The set that the lines of a key add up to: words add, words behind `~` take away, an empty line
/// empties. Nothing if the key does not occur.
pub(crate) fn parse_set(section: &Section<'_>, key: &str) -> Option<u64> {
    let mut set: Option<u64> = None;
    for value in section.file.values(section.name, key) {
        let (inverted, words) = value.strip_prefix('~').map_or((false, value), |rest| (true, rest));
        let bits = words.split_ascii_whitespace().filter_map(bit).fold(0, |bits, bit| bits | bit);
        set = Some(match (set, inverted) {
            _ if value.is_empty() => 0,
            (None, true) => ALL & !bits,
            (Some(known), true) => known & !bits,
            (known, false) => known.unwrap_or(0) | bits,
        });
    }
    set
}

fn bit(word: &str) -> Option<u64> {
    let name = word.strip_prefix("CAP_")?;
    NAMES.iter().position(|known| *known == name).map(|index| 1 << index)
}
