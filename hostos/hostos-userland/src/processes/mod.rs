//! What runs (`ps`, `pgrep`, `pkill`, `killall`), what memory is left (`free`), what the kernel said
//! (`dmesg`).

mod ps;
mod signal;
mod table;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::process::ExitCode;

pub(crate) use ps::run as ps;
pub(crate) use signal::{killall, pgrep, pkill};

/// `free`: in KiB, or with `-m` in MiB.
pub(crate) fn free(args: Vec<OsString>) -> ExitCode {
    let unit = if args.iter().any(|arg| arg == "-m") { 1024 } else { 1 };
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.split(':').next() == Some(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        number.unwrap_or(0) / unit
    };
    let (total, free, available) = (value("MemTotal"), value("MemFree"), value("MemAvailable"));
    let (shared, cache) = (value("Shmem"), value("Buffers") + value("Cached") + value("SReclaimable"));
    let (swap, swap_free) = (value("SwapTotal"), value("SwapFree"));
    println!(
        "{:15}{:>11} {:>11} {:>11} {:>11} {:>11} {:>11}",
        "", "total", "used", "free", "shared", "buff/cache", "available"
    );
    let used = total.saturating_sub(available);
    println!("{:15}{total:>11} {used:>11} {free:>11} {shared:>11} {cache:>11} {available:>11}", "Mem:");
    println!("{:15}{swap:>11} {:>11} {swap_free:>11}", "Swap:", swap - swap_free);
    ExitCode::SUCCESS
}

/// `dmesg`: the kernel's log as it is now.
pub(crate) fn dmesg(_args: Vec<OsString>) -> ExitCode {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let opened = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg");
    let mut log = match opened {
        Ok(log) => log,
        Err(error) => return crate::failed("dmesg", &format!("cannot read the kernel's log: {error}")),
    };
    let mut out = std::io::stdout().lock();
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(0) => return ExitCode::SUCCESS,
            Ok(count) => {
                if let Some(line) = line(&String::from_utf8_lossy(&record[..count]))
                    && writeln!(out, "{line}").is_err()
                {
                    return ExitCode::SUCCESS;
                }
            }
            // Records that were overwritten meanwhile are skipped.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(_) => return ExitCode::SUCCESS,
        }
    }
}

/// `6,339,5140900,-;text` is a record of 5.140900 s after the kernel's start.
fn line(record: &str) -> Option<String> {
    let (head, text) = record.split_once(';')?;
    let micros: u64 = head.split(',').nth(2)?.parse().ok()?;
    let text = text.lines().next()?;
    Some(format!("[{:5}.{:06}] {text}", micros / 1_000_000, micros % 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_kernel_becomes_a_line() {
        assert_eq!(line("6,339,5140900,-;NET: up\n SUBSYSTEM=x\n").unwrap(), "[    5.140900] NET: up");
    }
}
