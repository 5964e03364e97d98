//! What the kernel knows of this process, under the names that every Prometheus client uses.

use std::fs;

use super::Page;

/// Ticks of the kernel's clock in a second, as user space sees it on every architecture of Linux.
const TICKS: f64 = 100.0;

pub(super) fn tell(page: &mut Page) {
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return };
    // The name, in parentheses, may hold anything.
    let Some((_, after)) = stat.rsplit_once(") ") else { return };
    let fields: Vec<f64> = after.split(' ').map(|field| field.trim().parse().unwrap_or(0.0)).collect();
    // Counted from the state, which is the third field of the file.
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0.0);
    let cpu = (field(14) + field(15)) / TICKS;
    page.one("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", cpu);
    let name = "process_virtual_memory_bytes";
    page.one(name, "gauge", "Virtual memory size in bytes.", field(23));
    if let Some(resident) = resident() {
        page.one("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", resident);
    }
    if let Some(boot) = boot_time() {
        let name = "process_start_time_seconds";
        let help = "Start time of the process since unix epoch in seconds.";
        page.one(name, "gauge", help, boot + field(22) / TICKS);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.one("process_open_fds", "gauge", "Number of open file descriptors.", open.count() as u64);
    }
    if let Some(most) = most_files() {
        page.one("process_max_fds", "gauge", "Maximum number of open file descriptors.", most);
    }
}

fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn most_files() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        let mut page = Page::default();
        tell(&mut page);
        let value = |name: &str| -> f64 {
            let line = page.text().lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
        };
        let resident = value("process_resident_memory_bytes");
        assert!((1e6..1e10).contains(&resident), "{resident}");
        assert!(value("process_virtual_memory_bytes") > resident);
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") > value("process_open_fds"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        assert!((value("process_start_time_seconds") - now.as_secs_f64()).abs() < 3600.0);
    }
}
