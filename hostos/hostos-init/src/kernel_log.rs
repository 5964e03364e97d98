//! Sends what PID 1 logs to the kernel's log, where `dmesg` and the journal find it and the console
//! stays readable.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// Starts logging; without /dev/kmsg there is no log.
pub(crate) fn start() {
    let Ok(file) = OpenOptions::new().write(true).open("/dev/kmsg") else { return };
    let _ = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_level(false)
        .with_target(true)
        .with_max_level(Level::INFO)
        .with_writer(KernelLog { file })
        .try_init();
}

struct KernelLog {
    file: File,
}

impl<'a> MakeWriter<'a> for KernelLog {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { file: &self.file, priority: 6 }
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Line<'a> {
        let priority = match *meta.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        Line { file: &self.file, priority }
    }
}

struct Line<'a> {
    file: &'a File,
    priority: u8,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // One write is one record, and its facility is "daemon".
        let mut record = format!("<{}>hostos-init: ", 24 + self.priority).into_bytes();
        record.extend_from_slice(&bytes[..bytes.len().min(900)]);
        self.file.write_all(&record)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
