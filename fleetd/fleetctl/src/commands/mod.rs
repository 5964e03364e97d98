//! The commands, a file for each or for a few of a kind. Each returns the exit code.

pub(crate) mod cat;
pub(crate) mod change;
pub(crate) mod drain;
pub(crate) mod events;
pub(crate) mod fd_forward;
pub(crate) mod journal;
pub(crate) mod list;
pub(crate) mod membership;
pub(crate) mod scale;
pub(crate) mod ssh;
pub(crate) mod verify;
pub(crate) mod why;
