//! The engine as a program of its own; everything is in the libraries.
//!
//! Called as `engine-shim` it is the shim, so that the engine also works where no program of that name lies
//! beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let called = args.first().map(std::path::Path::new).and_then(|p| p.file_name());
    if called == Some("engine-shim".as_ref()) {
        return engine_shim::run(args);
    }
    engined::run(args)
}
