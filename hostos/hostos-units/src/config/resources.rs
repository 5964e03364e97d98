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
            let lowest = u64::from(!matches!(key, "MemoryMin" | "MemoryLow" | "MemorySwapMax"));
            let value = section.parsed(key, |text| memory(text, lowest));
            settings.extend(value.map(|value| (file, value)));
        }
        if !section.file.values(section.name, "MemoryMax").any(|_| true) {
            settings.extend(
                section.parsed("MemoryLimit", |text| memory(text, 1)).map(|value| ("memory.max", value)),
            );
        }
        settings.extend(section.parsed("TasksMax", tasks).map(|value| ("pids.max", value)));
        settings.extend(section.parsed("CPUQuota", quota).map(|value| ("cpu.max", value)));
        settings.extend(section.parsed("CPUWeight", |text| match text {
            "idle" => Some(("cpu.idle", "1".to_owned())),
            _ => weight(text).map(|value| ("cpu.weight", value)),
        }));
        settings.extend(
            section.parsed("IOWeight", weight).map(|value| ("io.weight", format!("default {value}"))),
        );
        settings.extend(section.text("AllowedCPUs").map(|value| ("cpuset.cpus", value.replace(' ', ","))));
        let slice =
            section.parsed("Slice", |text| Some(text.to_owned()).filter(|slice| slice.ends_with(".slice")));
        let delegate = section.parsed("Delegate", delegate).unwrap_or(false);
        Self { slice, delegate, settings }
    }
}

/// Controllers by name, or all of them.
fn delegate(text: &str) -> Option<bool> {
    const CONTROLLERS: [&str; 9] =
        ["cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids", "bpf-firewall"];
    let named = text.split_ascii_whitespace().all(|word| CONTROLLERS.contains(&word));
    unit_file::parse_bool(text).or(named.then_some(true))
}

/// At most all of it.
fn share(text: &str) -> Option<u64> {
    parse_percent(text).filter(|hundredths| *hundredths <= 10_000).map(u64::from)
}

fn memory(text: &str, lowest: u64) -> Option<String> {
    if text == "infinity" {
        return Some("max".into());
    }
    let bytes = match share(text) {
        Some(hundredths) => crate::host::memory_total()? / 10_000 * hundredths,
        None => parse_size(text)?,
    };
    (bytes >= lowest).then(|| bytes.to_string())
}

fn tasks(text: &str) -> Option<String> {
    if text == "infinity" {
        return Some("max".into());
    }
    if let Some(hundredths) = share(text) {
        let total = crate::host::tasks_total()?;
        return Some((total * hundredths / 10_000).max(1).to_string());
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
