//! Limits of a unit's cgroup.

use unit_file::{parse_percent, parse_size};

use super::Section;

/// A file of the cgroup and what to write to it.
pub(crate) type Setting = (&'static str, String);

#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    pub(crate) slice: Option<String>,
    pub(crate) delegate: bool,
    /// In the order in which to write them.
    pub(crate) settings: Vec<Setting>,
}

const PERIOD: u64 = 100_000;

impl Resources {
    pub(crate) fn parse(section: &Section<'_>) -> Self {
        let mut settings: Vec<Setting> = Vec::new();
        for (key, file) in [
            ("MemoryMin", "memory.min"),
            ("MemoryLow", "memory.low"),
            ("MemoryHigh", "memory.high"),
            ("MemoryMax", "memory.max"),
            ("MemorySwapMax", "memory.swap.max"),
        ] {
            settings.extend(section.parsed(key, memory).map(|value| (file, value)));
        }
        if !section.file.values(section.name, "MemoryMax").any(|_| true) {
            settings.extend(section.parsed("MemoryLimit", memory).map(|value| ("memory.max", value)));
        }
        settings.extend(section.parsed("TasksMax", tasks).map(|value| ("pids.max", value)));
        settings.extend(section.parsed("CPUQuota", quota).map(|value| ("cpu.max", value)));
        settings.extend(section.parsed("CPUWeight", weight).map(|value| ("cpu.weight", value)));
        settings.extend(
            section.parsed("IOWeight", weight).map(|value| ("io.weight", format!("default {value}"))),
        );
        settings.extend(section.text("AllowedCPUs").map(|value| ("cpuset.cpus", value.replace(' ', ","))));
        let slice = section.text("Slice").filter(|slice| slice.ends_with(".slice"));
        let delegate =
            section.text("Delegate").is_some_and(|text| unit_file::parse_bool(&text) != Some(false));
        Self { slice, delegate, settings }
    }
}

fn memory(text: &str) -> Option<String> {
    if text == "infinity" {
        return Some("max".into());
    }
    if let Some(hundredths) = parse_percent(text) {
        let total = crate::host::memory_total()?;
        return Some((total / 10_000 * u64::from(hundredths)).to_string());
    }
    parse_size(text).map(|bytes| bytes.to_string())
}

fn tasks(text: &str) -> Option<String> {
    if text == "infinity" {
        return Some("max".into());
    }
    if let Some(hundredths) = parse_percent(text) {
        let total = crate::host::tasks_total()?;
        return Some((total * u64::from(hundredths) / 10_000).max(1).to_string());
    }
    text.parse::<u64>().ok().filter(|tasks| *tasks > 0).map(|tasks| tasks.to_string())
}

fn quota(text: &str) -> Option<String> {
    let hundredths = u64::from(parse_percent(text)?);
    (hundredths > 0).then(|| format!("{} {PERIOD}", (PERIOD * hundredths / 10_000).max(1000)))
}

fn weight(text: &str) -> Option<String> {
    text.parse::<u64>().ok().filter(|weight| (1..=10_000).contains(weight)).map(|weight| weight.to_string())
}
