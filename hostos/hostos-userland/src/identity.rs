//! `hostnamectl` and `timedatectl`: what the machine is called, and what time it has.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, ExitCode};

const HOSTNAME: &str = "/etc/hostname";

/// `hostnamectl`, `hostnamectl hostname [NAME]`, `hostnamectl set-hostname NAME`.
pub(crate) fn hostnamectl(args: Vec<OsString>) -> ExitCode {
    let words: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    let now = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match words.as_slice() {
        [] | ["status"] => {
            println!(" Static hostname: {}", fs::read_to_string(HOSTNAME).unwrap_or_default().trim());
            println!(
                "      Machine ID: {}",
                fs::read_to_string("/etc/machine-id").unwrap_or_default().trim()
            );
            println!("         Boot ID: {}", boot_id());
            println!("Operating System: {}", os_name());
            println!("          Kernel: Linux {}", kernel_release());
            println!("    Architecture: x86-64");
            ExitCode::SUCCESS
        }
        ["hostname"] => {
            println!("{now}");
            ExitCode::SUCCESS
        }
        ["hostname" | "set-hostname", name] => set(name),
        _ => {
            eprintln!("Usage: hostnamectl [status | hostname [NAME] | set-hostname NAME]");
            ExitCode::FAILURE
        }
    }
}

fn set(name: &str) -> ExitCode {
    let labels = name.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    });
    if !labels || name.len() > 64 {
        return crate::failed("hostnamectl", &format!("`{name}` cannot be a hostname"));
    }
    let kept = fs::write(HOSTNAME, format!("{name}\n"));
    let done = kept.and_then(|()| Ok(nix::unistd::sethostname(name)?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::failed("hostnamectl", &format!("cannot set the hostname: {error}")),
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().replace('-', "")
}

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

fn os_name() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches('"').to_owned()
}

/// Where the time client notes whom it follows.
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";

/// `timedatectl`, and `timedatectl show`.
pub(crate) fn timedatectl(args: Vec<OsString>) -> ExitCode {
    let synchronized = fs::metadata(SYNCHRONIZED).is_ok();
    let word = |yes: bool| if yes { "yes" } else { "no" };
    let utc = |format: &str| {
        let output = Command::new("date").args(["-u", format]).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    match args.get(1).and_then(|word| word.to_str()) {
        None | Some("status") => {
            println!("               Local time: {}", utc("+%a %Y-%m-%d %H:%M:%S UTC"));
            println!("           Universal time: {}", utc("+%a %Y-%m-%d %H:%M:%S UTC"));
            println!("                Time zone: UTC (UTC, +0000)");
            println!("System clock synchronized: {}", word(synchronized));
            println!("              NTP service: active");
            println!("          RTC in local TZ: no");
            ExitCode::SUCCESS
        }
        Some("show") => {
            println!(
                "Timezone=UTC\nLocalRTC=no\nCanNTP=yes\nNTP=yes\nNTPSynchronized={}",
                word(synchronized)
            );
            ExitCode::SUCCESS
        }
        Some(other) => {
            let problem =
                format!("`{other}` is not here: the clock follows its time servers, and the zone is UTC");
            crate::failed("timedatectl", &problem)
        }
    }
}
