//! An ssh client for machines: keys are made here, host keys are pinned from the first connection,
//! a command's output and exit code arrive as they are.
//!
//! Deliberately not here: which machine, which file. Keys come in as text.

mod command;
mod files;
mod keys;
mod session;

pub use command::{Exit, Pty};
pub use files::{CopyError, Files};
pub use keys::{HostKey, KeyError, KeyPair};
pub use session::{Session, SshError, Target};
