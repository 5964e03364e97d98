//! `verify`: unit files as a cluster would judge them.

use std::path::Path;

use crate::cli::Files;
use crate::failure::Failure;
use crate::unit_args::{read_unit, unit_name};

pub(crate) fn run(args: &Files) -> Result<u8, Failure> {
    let mut code = 0;
    for file in &args.files {
        match unit_name(file).and_then(|name| read_unit(Path::new(file), &name)) {
            Ok(options) => say!("{file}: ok, {}", options.hash()),
            Err(failure) => {
                eprintln!("error: {failure}");
                code = 1;
            }
        }
    }
    Ok(code)
}
