//! What `useradd` would look up in `/etc/login.defs` and `/etc/default/useradd`.

use std::ops::RangeInclusive;

/// Ranges and defaults for new accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Defaults {
    pub(crate) uids: RangeInclusive<u32>,
    pub(crate) system_uids: RangeInclusive<u32>,
    pub(crate) gids: RangeInclusive<u32>,
    pub(crate) system_gids: RangeInclusive<u32>,
    /// Whether a user has a group of its own.
    pub(crate) own_groups: bool,
    /// The primary group where no group of the user's own is wanted.
    pub(crate) group: String,
    pub(crate) home: String,
    pub(crate) shell: String,
    pub(crate) skeleton: String,
    pub(crate) home_mode: u32,
    /// Days before a password may change, must change, and warning, as shadow(5) has them.
    pub(crate) password_days: [String; 3],
}

impl Defaults {
    /// From the texts of the two files; either may be empty.
    pub(crate) fn parse(login_defs: &str, useradd: &str) -> Self {
        let login = |key: &str| value(login_defs, key, char::is_whitespace);
        let add = |key: &str| value(useradd, key, |character| character == '=');
        let number =
            |key: &str, fallback: u32| login(key).and_then(|text| parse_number(&text)).unwrap_or(fallback);
        let range =
            |kind: &str| number(&format!("{kind}_MIN"), 1000)..=number(&format!("{kind}_MAX"), 60_000);
        let (uids, gids) = (range("UID"), range("GID"));
        let system = |kind: &str, first: u32| {
            let last = number(&format!("SYS_{kind}_MAX"), first.saturating_sub(1));
            number(&format!("SYS_{kind}_MIN"), 101)..=last
        };
        Self {
            system_uids: system("UID", *uids.start()),
            system_gids: system("GID", *gids.start()),
            uids,
            gids,
            own_groups: login_defs.trim().is_empty()
                || login("USERGROUPS_ENAB").is_some_and(|value| value == "yes"),
            group: add("GROUP").unwrap_or_else(|| "100".into()),
            home: add("HOME").unwrap_or_else(|| "/home".into()),
            shell: add("SHELL").unwrap_or_else(|| "/bin/bash".into()),
            skeleton: add("SKEL").unwrap_or_else(|| "/etc/skel".into()),
            home_mode: match login("HOME_MODE").and_then(|text| parse_number(&text)) {
                Some(mode) => mode & 0o7777,
                None => 0o777 & !number("UMASK", 0o022),
            },
            password_days: ["PASS_MIN_DAYS", "PASS_MAX_DAYS", "PASS_WARN_AGE"]
                .map(|key| login(key).unwrap_or_default()),
        }
    }
}

/// Decimal, octal after a leading zero, or hexadecimal after `0x`, as strtoul has it.
fn parse_number(text: &str) -> Option<u32> {
    if let Some(digits) = text.strip_prefix("0x") {
        u32::from_str_radix(digits, 16).ok()
    } else if let Some(digits) = text.strip_prefix('0').filter(|digits| !digits.is_empty()) {
        u32::from_str_radix(digits, 8).ok()
    } else {
        text.parse().ok()
    }
}

/// The value of the last line that sets the key.
fn value(text: &str, key: &str, separator: fn(char) -> bool) -> Option<String> {
    text.lines()
        .map(str::trim)
        .filter_map(|line| line.split_once(separator))
        .filter(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim().trim_matches('"').to_owned())
        .rfind(|value| !value.is_empty())
}
