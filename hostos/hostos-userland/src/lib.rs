//! The small programs that units and people expect on a machine.
//!
//! coreutils, findutils, sed and grep come from uutils, awk from a crate of its own; here they only get
//! their names. There is no editor, no pager, no jq and no package manager.

mod archive;
mod awk;
mod flock;
mod foreign;
mod identity;
mod modules;
mod mounts;
mod nologin;
mod notices;
mod processes;
mod sed;
mod sudo;
mod system;
mod which;

use std::ffi::OsString;
use std::process::ExitCode;

/// A program: its name, and what runs when it is started under that name.
#[derive(Clone, Copy)]
pub struct Program {
    /// Such as `ls`.
    pub name: &'static str,
    /// Arguments start with the name.
    pub run: fn(Vec<OsString>) -> ExitCode,
}

/// Programs of uutils, sorted by name.
pub const FOREIGN: &[Program] = foreign::PROGRAMS;

/// Programs of our own, sorted by name.
pub const OWN: &[Program] = &[
    Program { name: "awk", run: awk::run },
    Program { name: "dmesg", run: processes::dmesg },
    Program { name: "flock", run: flock::run },
    Program { name: "free", run: processes::free },
    Program { name: "gunzip", run: archive::gunzip },
    Program { name: "gzip", run: archive::gzip },
    Program { name: "hostnamectl", run: identity::hostnamectl },
    Program { name: "killall", run: processes::killall },
    Program { name: "logger", run: notices::logger },
    Program { name: "lsmod", run: modules::lsmod },
    Program { name: "modprobe", run: modules::modprobe },
    Program { name: "mount", run: mounts::mount },
    Program { name: "nologin", run: nologin::run },
    Program { name: "pgrep", run: processes::pgrep },
    Program { name: "pkill", run: processes::pkill },
    Program { name: "ps", run: processes::ps },
    Program { name: "sudo", run: sudo::run },
    Program { name: "systemd-cat", run: notices::cat },
    Program { name: "systemd-notify", run: notices::notify },
    Program { name: "tar", run: archive::tar },
    Program { name: "timedatectl", run: identity::timedatectl },
    Program { name: "umount", run: mounts::unmount },
    Program { name: "which", run: which::run },
    Program { name: "zcat", run: archive::zcat },
];

/// Says what went wrong, as `program: problem`.
fn failed(program: &str, problem: &str) -> ExitCode {
    eprintln!("{program}: {problem}");
    ExitCode::FAILURE
}

/// A shell's code for how a process ended.
fn exit_code(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn misused(usage: &clap::Error) -> ExitCode {
    let _ = usage.print();
    ExitCode::from(if usage.use_stderr() { 2 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_are_sorted_and_unique() {
        assert!(OWN.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
