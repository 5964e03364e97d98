//! The table of programs, sorted by name.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::shell;

/// One program: its arguments start with its own name.
pub(crate) struct Applet {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Vec<OsString>) -> ExitCode,
}

const fn applet(name: &'static str, run: fn(Vec<OsString>) -> ExitCode) -> Applet {
    Applet { name, run }
}

/// Every name under which the image starts this executable.
pub(crate) const APPLETS: &[Applet] = &[
    applet("bash", shell::run),
    applet("engined", engined::run),
    applet("hostos-init", hostos_init::run),
    applet("sftp-server", hostos_sshd::run_sftp_server),
    applet("sh", shell::run),
    applet("sshd", hostos_sshd::run),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(APPLETS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
