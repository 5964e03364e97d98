//! The rules that a config of the right shape must still keep.
use crate::diagnostic::Diagnostic;
use crate::types::Config;
pub(crate) fn check(_config: &Config, _minor: u32) -> Vec<Diagnostic> {
    Vec::new()
}
