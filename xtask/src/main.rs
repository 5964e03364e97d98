//! Every chore of the project: `cargo xtask VERB`. Nothing depends on this crate.

fn main() {}
