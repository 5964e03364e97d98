//! SNTP packets as values. Pure: no socket, no clock.
//!
//! Times on the wire count seconds since 1900 in 32 bits and begin again in 2036; they are read as the
//! moment nearest to `floor` that they can mean.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of a packet without extensions.
pub const LENGTH: usize = 48;

/// Seconds from 1900 to 1970.
const TO_UNIX: u64 = 2_208_988_800;

/// Seconds until the count on the wire begins again.
const ERA: u64 = 1 << 32;

/// What a good answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// When the server got the question.
    pub received: SystemTime,
    /// When it answered.
    pub sent: SystemTime,
    /// How far the server is from a clock, in hops.
    pub stratum: u8,
}

/// Why a packet is no answer to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// Too short, of another protocol, or to another question.
    #[error("it is no answer to what was asked")]
    Foreign,
    /// The server has no time itself.
    #[error("the server's own clock is not set")]
    Unsynchronized,
    /// The server does not want to be asked, or not so often.
    #[error("the server refuses: {}", String::from_utf8_lossy(.0))]
    Refused([u8; 4]),
}

/// A question that carries `cookie`, which the answer repeats. What the asker's clock shows is nobody's
/// business, so it is not in it.
#[must_use]
pub fn question(cookie: u64) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    // No warning, version 4, client.
    packet[0] = 0b00_100_011;
    packet[40..48].copy_from_slice(&cookie.to_be_bytes());
    packet
}

/// The answer to the question with that cookie.
///
/// # Errors
/// It is not one to be believed.
pub fn reply(packet: &[u8], cookie: u64, floor: SystemTime) -> Result<Reply, BadReply> {
    let word =
        |at: usize| packet.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    let (Some(origin), Some(received), Some(sent)) = (word(24), word(32), word(40)) else {
        return Err(BadReply::Foreign);
    };
    let (leap, version, mode, stratum) = (packet[0] >> 6, (packet[0] >> 3) & 7, packet[0] & 7, packet[1]);
    if mode != 4 || !(3..=4).contains(&version) || origin != cookie {
        return Err(BadReply::Foreign);
    }
    if stratum == 0 {
        return Err(BadReply::Refused(packet[12..16].try_into().unwrap_or(*b"    ")));
    }
    if leap == 3 || stratum > 15 || sent == 0 || received == 0 {
        return Err(BadReply::Unsynchronized);
    }
    Ok(Reply { received: time(received, floor), sent: time(sent, floor), stratum })
}

/// The moment that a number on the wire means: of all, the one nearest to `floor`.
fn time(wire: u64, floor: SystemTime) -> SystemTime {
    let middle = floor.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() + TO_UNIX;
    let (count, fraction) = (wire >> 32, wire & 0xFFFF_FFFF);
    let earliest = middle.saturating_sub(ERA / 2);
    let mut seconds = earliest / ERA * ERA + count;
    if seconds < earliest {
        seconds += ERA;
    }
    let nanos = (fraction * 1_000_000_000) >> 32;
    let since = Duration::from_secs(seconds) + Duration::from_nanos(nanos);
    UNIX_EPOCH + since.saturating_sub(Duration::from_secs(TO_UNIX))
}

/// A moment as a number on the wire; for servers, which here are only those of tests.
#[must_use]
pub fn wire(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = (since.as_secs() + TO_UNIX) % ERA;
    (seconds << 32) | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn answer(cookie: u64, sent: SystemTime) -> [u8; LENGTH] {
        let mut packet = question(0);
        packet[0] = 0b00_100_100;
        packet[1] = 2;
        packet[24..32].copy_from_slice(&cookie.to_be_bytes());
        packet[32..40].copy_from_slice(&wire(sent).to_be_bytes());
        packet[40..48].copy_from_slice(&wire(sent).to_be_bytes());
        packet
    }

    const BUILT: u64 = 1_790_000_000;

    #[test]
    fn an_answer_is_read_to_the_nanosecond_nearly() {
        let sent = at(BUILT + 5) + Duration::from_millis(250);
        let reply = reply(&answer(7, sent), 7, at(BUILT)).expect("it is good");
        assert_eq!(reply.sent, sent);
        assert_eq!(reply.stratum, 2);
    }

    #[test]
    fn the_count_begins_again_in_2036() {
        let later = at(2_100_000_000);
        assert_eq!(reply(&answer(7, later), 7, at(BUILT)).expect("it is good").sent, later);
        // A server that has no idea is not taken for one of the next century.
        let unset = at(0);
        assert_eq!(reply(&answer(7, unset), 7, at(BUILT)).expect("it is well-formed").sent, unset);
        // And a machine of 2040 does not fall back.
        let then = at(2_220_000_000);
        assert_eq!(reply(&answer(7, then), 7, at(2_200_000_000)).expect("it is good").sent, then);
    }

    #[test]
    fn what_is_not_an_answer_is_not_believed() {
        let good = answer(7, at(BUILT + 5));
        let changed = |at: usize, byte: u8| {
            let mut packet = good;
            packet[at] = byte;
            reply(&packet, 7, UNIX_EPOCH)
        };
        assert_eq!(reply(&good, 8, UNIX_EPOCH), Err(BadReply::Foreign));
        assert_eq!(changed(0, 0b00_100_011), Err(BadReply::Foreign), "a question");
        assert_eq!(changed(0, 0b11_100_100), Err(BadReply::Unsynchronized));
        assert_eq!(changed(1, 16), Err(BadReply::Unsynchronized));
        assert!(matches!(changed(1, 0), Err(BadReply::Refused(_))));
        for end in 0..LENGTH {
            assert_eq!(reply(&good[..end], 7, UNIX_EPOCH), Err(BadReply::Foreign));
        }
    }
}
