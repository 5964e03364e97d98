//! The command line that makes machines and keeps them.
