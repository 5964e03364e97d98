//! `[Timer]`, `[Path]`, `[Socket]` and `[Mount]`: units that start others, or the kernel's mounts.

use std::path::PathBuf;
use std::time::Duration;

use unit_file::{Calendar, TimeSpan, UnitKind, UnitName, parse_span};

use super::Section;

/// What a timer counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerBase {
    Active,
    Boot,
    Startup,
    UnitActive,
    UnitInactive,
}

#[derive(Clone, Debug)]
pub(crate) struct TimerConfig {
    pub(crate) unit: UnitName,
    pub(crate) calendars: Vec<Calendar>,
    pub(crate) spans: Vec<(TimerBase, Duration)>,
    pub(crate) random_delay: Duration,
    pub(crate) persistent: bool,
    pub(crate) remain_after_elapse: bool,
}

impl TimerConfig {
    /// # Errors
    /// Why the unit cannot be started at all.
    pub(crate) fn parse(section: &Section<'_>) -> Result<Self, String> {
        let mut calendars = Vec::new();
        let mut spans = Vec::new();
        for assignment in section.file.assignments.iter().filter(|a| a.section == section.name) {
            let base = match assignment.key.as_str() {
                "OnCalendar" => None,
                "OnActiveSec" => Some(TimerBase::Active),
                "OnBootSec" => Some(TimerBase::Boot),
                "OnStartupSec" => Some(TimerBase::Startup),
                "OnUnitActiveSec" => Some(TimerBase::UnitActive),
                "OnUnitInactiveSec" => Some(TimerBase::UnitInactive),
                _ => continue,
            };
            let value = section.expand(&assignment.value);
            match base {
                // An empty one resets all kinds.
                _ if value.is_empty() => {
                    calendars.clear();
                    spans.clear();
                }
                None => match value.parse() {
                    Ok(calendar) => calendars.push(calendar),
                    Err(_) => section.warn(&assignment.key, &value),
                },
                Some(base) => match parse_span(&value, Duration::from_secs(1)) {
                    Some(TimeSpan::Finite(span)) => spans.push((base, span)),
                    _ => section.warn(&assignment.key, &value),
                },
            }
        }
        if calendars.is_empty() && spans.is_empty() {
            return Err("Timer unit lacks value setting. Refusing.".into());
        }
        Ok(Self {
            unit: triggered(section, "Unit"),
            calendars,
            spans,
            random_delay: section.span("RandomizedDelaySec", Duration::ZERO),
            persistent: section.flag("Persistent", false),
            remain_after_elapse: section.flag("RemainAfterElapse", true),
        })
    }
}

/// The unit to start: as named, or the service of the same name.
fn triggered(section: &Section<'_>, key: &str) -> UnitName {
    section.parsed(key, |text| text.parse().ok()).unwrap_or_else(|| section.unit.with_kind(UnitKind::Service))
}

/// What a path unit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathEvent {
    Exists,
    ExistsGlob,
    Changed,
    Modified,
    DirectoryNotEmpty,
}

#[derive(Clone, Debug)]
pub(crate) struct PathConfig {
    pub(crate) unit: UnitName,
    pub(crate) watches: Vec<(PathEvent, String)>,
    pub(crate) make_directory: bool,
}

impl PathConfig {
    /// # Errors
    /// Why the unit cannot be started at all.
    pub(crate) fn parse(section: &Section<'_>) -> Result<Self, String> {
        let mut watches = Vec::new();
        for (key, event) in [
            ("PathExists", PathEvent::Exists),
            ("PathExistsGlob", PathEvent::ExistsGlob),
            ("PathChanged", PathEvent::Changed),
            ("PathModified", PathEvent::Modified),
            ("DirectoryNotEmpty", PathEvent::DirectoryNotEmpty),
        ] {
            watches.extend(
                section.list(key).into_iter().filter(|path| path.starts_with('/')).map(|path| (event, path)),
            );
        }
        if watches.is_empty() {
            return Err("Path unit lacks path setting. Refusing.".into());
        }
        Ok(Self {
            unit: triggered(section, "Unit"),
            watches,
            make_directory: section.flag("MakeDirectory", false),
        })
    }
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    UnixStream(PathBuf),
    UnixDatagram(PathBuf),
    Stream(std::net::SocketAddr),
    Datagram(std::net::SocketAddr),
    Fifo(PathBuf),
}

#[derive(Clone, Debug)]
pub(crate) struct SocketConfig {
    pub(crate) unit: UnitName,
    pub(crate) listen: Vec<Listen>,
    pub(crate) accept: bool,
    pub(crate) mode: u32,
    pub(crate) user: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) backlog: i32,
    pub(crate) remove_on_stop: bool,
    pub(crate) descriptor_name: Option<String>,
}

impl SocketConfig {
    /// # Errors
    /// Why the unit cannot be started at all.
    pub(crate) fn parse(section: &Section<'_>) -> Result<Self, String> {
        let mut listen = Vec::new();
        for assignment in section.file.assignments.iter().filter(|a| a.section == section.name) {
            let value = section.expand(&assignment.value);
            let found = match assignment.key.as_str() {
                "ListenStream" => address(&value, Listen::UnixStream, Listen::Stream),
                "ListenDatagram" => address(&value, Listen::UnixDatagram, Listen::Datagram),
                "ListenFIFO" if value.starts_with('/') => Some(Listen::Fifo(value.clone().into())),
                key if !key.starts_with("Listen") => continue,
                _ => None,
            };
            match found {
                Some(found) => listen.push(found),
                None if value.is_empty() => listen.clear(),
                None => section.warn(&assignment.key, &value),
            }
        }
        if listen.is_empty() {
            return Err(
                "Unit has no Listen setting (ListenStream=, ListenDatagram=, ListenFIFO=, ...). Refusing."
                    .into(),
            );
        }
        let octal = |text: &str| u32::from_str_radix(text, 8).ok();
        Ok(Self {
            unit: triggered(section, "Service"),
            listen,
            accept: section.flag("Accept", false),
            mode: section.parsed("SocketMode", octal).unwrap_or(0o666),
            user: section.text("SocketUser"),
            group: section.text("SocketGroup"),
            backlog: section.parsed("Backlog", |text| text.parse().ok()).unwrap_or(4096),
            remove_on_stop: section.flag("RemoveOnStop", false),
            descriptor_name: section.text("FileDescriptorName"),
        })
    }
}

fn address(
    text: &str,
    unix: impl Fn(PathBuf) -> Listen,
    inet: impl Fn(std::net::SocketAddr) -> Listen,
) -> Option<Listen> {
    if text.starts_with('/') {
        return Some(unix(text.into()));
    }
    let any = std::net::Ipv6Addr::UNSPECIFIED;
    if let Ok(port) = text.parse::<u16>() {
        return Some(inet((any, port).into()));
    }
    text.parse().ok().map(inet)
}

#[derive(Clone, Debug)]
pub(crate) struct MountConfig {
    pub(crate) what: String,
    pub(crate) place: String,
    pub(crate) kind: String,
    pub(crate) options: String,
    pub(crate) directory_mode: u32,
}

impl MountConfig {
    /// # Errors
    /// Why the unit cannot be started at all.
    pub(crate) fn parse(section: &Section<'_>) -> Result<Self, String> {
        let from_name = unit_file::unescape_path(section.unit.stem());
        let place = section.text("Where").unwrap_or_else(|| from_name.clone());
        if place != from_name {
            return Err("Where= setting doesn't match unit name. Refusing.".into());
        }
        let octal = |text: &str| u32::from_str_radix(text, 8).ok();
        Ok(Self {
            what: section.text("What").ok_or("What= setting is missing. Refusing.")?,
            place,
            kind: section.text("Type").unwrap_or_default(),
            options: section.text("Options").unwrap_or_default(),
            directory_mode: section.parsed("DirectoryMode", octal).unwrap_or(0o755),
        })
    }
}
