//! The small programs that units and people expect on a machine.
//!
//! coreutils, findutils, sed and grep come from uutils; here they only get their names. There is no
//! awk, no editor and no package manager.

mod foreign;

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

/// Every program here, sorted by name.
pub const PROGRAMS: &[Program] = foreign::PROGRAMS;
