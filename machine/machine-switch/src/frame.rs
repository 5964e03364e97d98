//! Ethernet addresses, and the few fields of a frame that a switch looks at.

use std::fmt;

/// Longest frame that passes: QEMU's virtio devices may send up to 64 KiB with offloads.
pub const MAX_FRAME: usize = 68 * 1024;
const HEADER: usize = 14;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether it stands for many.
    #[must_use]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Destination and source of a frame; nothing if it is too short to be one.
pub(crate) fn addresses(frame: &[u8]) -> Option<(Mac, Mac)> {
    if frame.len() < HEADER {
        return None;
    }
    let mac = |at: usize| <[u8; 6]>::try_from(&frame[at..at + 6]).ok().map(Mac);
    Some((mac(0)?, mac(6)?))
}
