//! Waits for the power button.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

/// `EV_KEY` and `KEY_POWER` of the kernel's <linux/input-event-codes.h>.
const EVENT_KEY: u16 = 1;
const KEY_POWER: u16 = 116;

/// Sends one message for each press. The thread ends with the receiver.
pub(crate) fn watch() -> mpsc::Receiver<()> {
    let (presses, receiver) = mpsc::channel(1);
    let _ = std::thread::Builder::new()
        .name("power-button".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || read_presses(&presses));
    receiver
}

fn read_presses(presses: &mpsc::Sender<()>) {
    let mut button = loop {
        // The driver may come up a moment after its module.
        if let Some(file) = find().and_then(|path| File::open(path).ok()) {
            break file;
        }
        if presses.is_closed() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let mut event = [0; 24];
    while button.read_exact(&mut event).is_ok() {
        if is_press(&event) && presses.blocking_send(()).is_err() {
            return;
        }
    }
}

/// `struct input_event`: 16 bytes of time, type, code, value.
fn is_press(event: &[u8; 24]) -> bool {
    let kind = u16::from_le_bytes([event[16], event[17]]);
    let code = u16::from_le_bytes([event[18], event[19]]);
    let value = i32::from_le_bytes([event[20], event[21], event[22], event[23]]);
    (kind, code, value) == (EVENT_KEY, KEY_POWER, 1)
}

fn find() -> Option<PathBuf> {
    fs::read_dir("/sys/class/input").ok()?.flatten().find_map(|entry| {
        let name = fs::read_to_string(entry.path().join("device/name")).ok()?;
        let event = entry.file_name().to_string_lossy().starts_with("event");
        (event && name.trim() == "Power Button").then(|| PathBuf::from("/dev/input").join(entry.file_name()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_press_of_the_power_key_counts() {
        let mut event = [0; 24];
        event[16] = 1;
        event[18] = 116;
        assert!(!is_press(&event), "a release");
        event[20] = 1;
        assert!(is_press(&event));
        event[18] = 30;
        assert!(!is_press(&event), "another key");
    }
}
