//! Machines that exist already: `none` knows only a URL, `generic` is reached over ssh.
//!
//! Deliberately not here: making or unmaking computers.

mod generic;
mod none;

pub use generic::GenericDriver;
pub use none::NoneDriver;
