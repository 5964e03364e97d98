//! Standard output for a reader that may have had enough, as `head` has: then the program ends quietly,
//! where `println!` would panic. For command lines only; a daemon has no reader to please.

use std::io::{ErrorKind, Write};

/// What a shell sees of a program that died of SIGPIPE.
const BROKEN_PIPE: i32 = 128 + 13;

/// As `print!`.
#[macro_export]
macro_rules! put {
    ($($words:tt)*) => { $crate::write(format!($($words)*).as_bytes()) };
}

/// As `println!`.
#[macro_export]
macro_rules! say {
    () => { $crate::write(b"\n") };
    ($($words:tt)*) => { $crate::write(format!("{}\n", format_args!($($words)*)).as_bytes()) };
}

/// Writes at once. Ends the program when nobody reads, or when the words cannot be written.
pub fn write(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(BROKEN_PIPE),
        Err(error) => {
            // Standard error may be gone too.
            let _ = writeln!(std::io::stderr(), "error: could not print: {error}");
            std::process::exit(1);
        }
    }
}
