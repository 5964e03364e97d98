//! The default system call filter: Docker's policy, compiled to few instructions.
//!
//! [`policy`] says what is refused for a set of capabilities; [`compile`] turns
//! it into a classic BPF program of range tests, a tenth of the length of one
//! test per call. The program is made in microseconds, once per start.

mod compile;
mod policy;

use engine_shim::caps;

/// The filter for a container with these capabilities, packed as
/// [`engine_shim::spec::Process::seccomp`] wants it.
#[must_use]
pub fn default_filter(capabilities: &[String]) -> Vec<u64> {
    let mask = caps::mask(capabilities);
    let program = compile::compile(&policy::tables(mask));
    program
        .iter()
        .map(|i| u64::from(i.code) << 48 | u64::from(i.jt) << 40 | u64::from(i.jf) << 32 | u64::from(i.k))
        .collect()
}
