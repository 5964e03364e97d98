//! Standard output for a reader that may have had enough, as `head` has: then the program ends
//! quietly, where `println!` would panic.

use std::io::{ErrorKind, Write};

/// As `print!`.
macro_rules! put {
    ($($words:tt)*) => { $crate::out::write(&format!($($words)*)) };
}

/// As `println!`.
macro_rules! say {
    ($($words:tt)*) => { $crate::out::write(&format!("{}\n", format_args!($($words)*))) };
}

/// Writes text at once.
pub(crate) fn write(text: &str) {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("error: could not print: {error}");
            std::process::exit(1);
        }
    }
}
