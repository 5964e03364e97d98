//! The kernel's messages, from /dev/kmsg.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

use super::record::{Entry, Transport};
use crate::clock::{Moment, wall_clock};

/// The log, from its beginning on.
pub(crate) fn open() -> Option<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open("/dev/kmsg").ok()
}

/// The next message, if there is one. Those that were overwritten meanwhile are skipped.
pub(crate) fn next_message(log: &mut File) -> Option<Entry> {
    let mut buffer = [0; 8192];
    for _ in 0..16 {
        match log.read(&mut buffer) {
            Ok(0) => return None,
            Ok(count) => {
                if let Some(entry) = parse(&String::from_utf8_lossy(&buffer[..count])) {
                    return Some(entry);
                }
            }
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(_) => return None,
        }
    }
    None
}

/// `6,339,5140900,-;message`; what user space wrote there itself is left out.
fn parse(text: &str) -> Option<Entry> {
    let (prefix, message) = text.split_once(';')?;
    let mut fields = prefix.split(',');
    let level: u32 = fields.next()?.parse().ok()?;
    let monotonic: u64 = fields.nth(1)?.parse().ok()?;
    if level >> 3 != 0 {
        return None;
    }
    let message = message.lines().next().unwrap_or_default().to_owned();
    let age = Moment::now().0.saturating_sub(monotonic);
    Some(Entry {
        realtime: wall_clock().saturating_sub(age),
        monotonic,
        priority: u8::try_from(level & 7).unwrap_or(6),
        transport: Transport::Kernel,
        pid: 0,
        unit: String::new(),
        identifier: "kernel".into(),
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_kernel_only() {
        let entry = parse("3,12,345,-;usb 1-1: no\n SUBSYSTEM=usb\n").expect("a message");
        assert_eq!((entry.priority, entry.monotonic, entry.message.as_str()), (3, 345, "usb 1-1: no"));
        assert_eq!(parse("30,13,346,-;systemd[1]: hello"), None);
        assert_eq!(parse("nonsense"), None);
    }
}
