//! What a unit reserves of a machine: memory and CPU.
//!
//! `[X-Fleet] Memory=` and `CPU=` say it; without them, the limits that the unit sets itself
//! (`[Service] MemoryMax=`, `CPUQuota=`) are what it may use and so what is reserved.

use crate::UnitOptions;

/// An amount of a machine, or what a unit takes of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resources {
    /// Bytes.
    pub memory: u64,
    /// Thousandths of one CPU.
    pub milli_cpus: u64,
}

/// A reservation that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourcesError {
    /// `Memory=` or `MemoryMax=`.
    #[error("{key} `{value}` is no amount of memory; use for example 512M or 2G")]
    Memory {
        /// The option.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// `CPU=`.
    #[error("CPU `{0}` is no number of CPUs; use for example 0.5 or 2")]
    Cpu(String),
    /// `CPUQuota=`.
    #[error("CPUQuota `{0}` is no percentage; use for example 50%")]
    CpuQuota(String),
}

impl Resources {
    /// What the unit reserves; zero where it says nothing.
    ///
    /// # Errors
    /// A value that is no amount.
    pub fn of(options: &UnitOptions) -> Result<Self, ResourcesError> {
        let last =
            |section, name| options.values(section, name).next_back().filter(|value| !value.is_empty());
        let memory = match (last("X-Fleet", "Memory"), last("Service", "MemoryMax")) {
            (Some(value), _) => parse_memory("Memory", value)?,
            (None, Some("infinity")) | (None, None) => 0,
            // A share of the machine is no fixed amount: nothing is reserved for it.
            (None, Some(value)) if value.ends_with('%') => 0,
            (None, Some(value)) => parse_memory("MemoryMax", value)?,
        };
        let milli_cpus = match (last("X-Fleet", "CPU"), last("Service", "CPUQuota")) {
            (Some(value), _) => parse_cpus(value)?,
            (None, Some(value)) => parse_quota(value)?,
            (None, None) => 0,
        };
        Ok(Self { memory, milli_cpus })
    }

    /// Whether this much can be taken of `free`.
    #[must_use]
    pub fn fits_in(self, free: Self) -> bool {
        self.memory <= free.memory && self.milli_cpus <= free.milli_cpus
    }

    /// The sum, at most the largest number there is.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            memory: self.memory.saturating_add(other.memory),
            milli_cpus: self.milli_cpus.saturating_add(other.milli_cpus),
        }
    }

    /// The rest, at least zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            memory: self.memory.saturating_sub(other.memory),
            milli_cpus: self.milli_cpus.saturating_sub(other.milli_cpus),
        }
    }
}

fn parse_memory(key: &'static str, value: &str) -> Result<u64, ResourcesError> {
    let error = || ResourcesError::Memory { key, value: value.to_owned() };
    let (digits, shift) = match value.strip_suffix('B').unwrap_or(value) {
        text if text.ends_with(['K', 'k']) => (&text[..text.len() - 1], 10),
        text if text.ends_with(['M', 'm']) => (&text[..text.len() - 1], 20),
        text if text.ends_with(['G', 'g']) => (&text[..text.len() - 1], 30),
        text if text.ends_with(['T', 't']) => (&text[..text.len() - 1], 40),
        text => (text, 0),
    };
    let number: u64 = digits.trim().parse().map_err(|_| error())?;
    number.checked_mul(1 << shift).ok_or_else(error)
}

fn parse_cpus(value: &str) -> Result<u64, ResourcesError> {
    thousandths(value).ok_or_else(|| ResourcesError::Cpu(value.to_owned()))
}

fn parse_quota(value: &str) -> Result<u64, ResourcesError> {
    let error = || ResourcesError::CpuQuota(value.to_owned());
    let percent = value.strip_suffix('%').ok_or_else(error)?;
    Ok(thousandths(percent.trim()).ok_or_else(error)? / 100)
}

/// A decimal number times 1,000, digits after the third dropped.
fn thousandths(value: &str) -> Option<u64> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if whole.is_empty() && fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: u64 = format!("{fraction:0<3}")[..3].parse().ok()?;
    whole.checked_mul(1000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved(text: &str) -> Result<Resources, ResourcesError> {
        Resources::of(&UnitOptions::parse(text).expect("parses"))
    }

    #[test]
    fn a_reservation_goes_before_a_limit() {
        let unit = "[Service]\nMemoryMax=2G\nCPUQuota=150%\n[X-Fleet]\nMemory=512M\n";
        assert_eq!(reserved(unit), Ok(Resources { memory: 512 << 20, milli_cpus: 1500 }));
        assert_eq!(reserved("[X-Fleet]\nCPU=0.25\n"), Ok(Resources { memory: 0, milli_cpus: 250 }));
        assert_eq!(reserved("[Service]\nMemoryMax=infinity\n"), Ok(Resources::default()));
        assert_eq!(reserved("[Service]\nMemoryMax=20%\n"), Ok(Resources::default()));
    }

    #[test]
    fn nonsense_is_refused() {
        for unit in [
            "[X-Fleet]\nMemory=much\n",
            "[X-Fleet]\nCPU=.\n",
            "[X-Fleet]\nCPU=-1\n",
            "[Service]\nCPUQuota=2\n",
        ] {
            assert!(reserved(unit).is_err(), "{unit}");
        }
        assert!(reserved("[X-Fleet]\nMemory=99999999999999999T\n").is_err());
    }
}
