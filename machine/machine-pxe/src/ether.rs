//! Ethernet, IPv4 and UDP around a datagram, and the router advertisement that ends iPXE's wait for
//! IPv6. Only bytes.

use std::net::Ipv4Addr;

use crate::Mac;

const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// A UDP datagram as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    pub(crate) from_mac: Mac,
    pub(crate) from: (Ipv4Addr, u16),
    pub(crate) to: (Ipv4Addr, u16),
    pub(crate) payload: &'a [u8],
}

/// The UDP datagram in a frame; nothing for other frames and for fragments.
pub(crate) fn datagram(frame: &[u8]) -> Option<Datagram<'_>> {
    let packet = frame.get(ETHERNET..)?;
    if frame[12..14] != IPV4 || packet.first()? >> 4 != 4 || *packet.get(9)? != UDP {
        return None;
    }
    let header = usize::from(packet[0] & 15) * 4;
    let length = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
    let is_fragment = packet.get(6)? & 0x3f != 0 || *packet.get(7)? != 0;
    let udp = packet.get(header..length)?;
    if is_fragment || udp.len() < 8 {
        return None;
    }
    let address = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).ok().map(Ipv4Addr::from);
    let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    Some(Datagram {
        from_mac: Mac(frame[6..12].try_into().ok()?),
        from: (address(12)?, port(0)),
        to: (address(16)?, port(2)),
        payload: &udp[8..],
    })
}

/// A frame with a UDP datagram in it.
pub(crate) fn frame(
    (from_mac, from): (Mac, (Ipv4Addr, u16)),
    (to_mac, to): (Mac, (Ipv4Addr, u16)),
    payload: &[u8],
) -> Vec<u8> {
    let length = |bytes: usize| u16::try_from(bytes).expect("a datagram fits a frame").to_be_bytes();
    let mut frame = [&to_mac.0[..], &from_mac.0, &IPV4].concat();
    let mut ip = [0; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&length(28 + payload.len()));
    (ip[8], ip[9]) = (64, UDP);
    ip[12..16].copy_from_slice(&from.0.octets());
    ip[16..20].copy_from_slice(&to.0.octets());
    let sum = checksum(&[&ip]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(ip);
    frame.extend(from.1.to_be_bytes());
    frame.extend(to.1.to_be_bytes());
    frame.extend(length(8 + payload.len()));
    // No UDP checksum: over IPv4 it is optional.
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// Whether a frame asks for routers.
pub(crate) fn is_router_solicitation(frame: &[u8]) -> bool {
    frame.len() > ETHERNET + 40
        && frame[12..14] == IPV6
        && frame[ETHERNET + 6] == ICMPV6
        && frame[ETHERNET + 40] == 133
}

/// An advertisement of a router that routes nothing and hands out nothing: whoever waits for one goes
/// on without IPv6.
pub(crate) fn router_advertisement(from: Mac) -> Vec<u8> {
    let [a, b, c, d, e, f] = from.0;
    let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    let mut all_nodes = [0; 16];
    (all_nodes[0], all_nodes[1], all_nodes[15]) = (0xff, 2, 1);
    // Type, code, checksum; hop limit, flags, lifetime of 0; two timers; our hardware address.
    let mut advertisement = vec![134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    advertisement.extend(from.0);
    let length = u8::try_from(advertisement.len()).expect("it is short");
    let pseudo = [&source[..], &all_nodes, &[0, 0, 0, length, 0, 0, 0, ICMPV6]].concat();
    let sum = checksum(&[&pseudo, &advertisement]);
    advertisement[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = vec![0x33, 0x33, 0, 0, 0, 1];
    frame.extend(from.0);
    frame.extend(IPV6);
    frame.extend([0x60, 0, 0, 0, 0, length, ICMPV6, 255]);
    frame.extend(source);
    frame.extend(all_nodes);
    frame.extend(advertisement);
    frame
}

/// The Internet checksum over parts of even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 =
        words.map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("it was folded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_reads_back_and_scraps_are_nothing() {
        let (from, to) = ((Ipv4Addr::new(10, 0, 0, 2), 67), (Ipv4Addr::BROADCAST, 68));
        let whole = frame((Mac([2; 6]), from), (Mac([4; 6]), to), b"hello");
        let read = datagram(&whole).expect("a datagram");
        assert_eq!((read.from_mac, read.from, read.to, read.payload), (Mac([2; 6]), from, to, &b"hello"[..]));
        assert_eq!(checksum(&[&whole[ETHERNET..ETHERNET + 20]]), 0);
        for end in 0..whole.len() {
            assert_eq!(datagram(&whole[..end]), None);
        }
    }

    #[test]
    fn an_advertisement_sums_up() {
        let frame = router_advertisement(Mac([2, 1, 2, 3, 4, 5]));
        let (ip, icmp) = (&frame[ETHERNET..ETHERNET + 40], &frame[ETHERNET + 40..]);
        let length = u8::try_from(icmp.len()).expect("short");
        let pseudo = [&ip[8..40], &[0, 0, 0, length, 0, 0, 0, ICMPV6]].concat();
        assert_eq!(checksum(&[&pseudo, icmp]), 0);
        assert!(!is_router_solicitation(&frame));
    }
}
