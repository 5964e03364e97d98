//! Machines that exist already: `none` knows only a URL, `generic` is reached over ssh.
//!
//! Deliberately not here: making or unmaking computers.

mod none;

pub use none::NoneDriver;
