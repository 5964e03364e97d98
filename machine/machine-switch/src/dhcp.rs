//! Answers to DHCP, as whole Ethernet frames (RFC 2131): DISCOVER gets an OFFER, REQUEST an ACK, or a
//! NAK when it asks for another address than its own.

use std::net::Ipv4Addr;

use crate::frame::{Mac, addresses};
use crate::lease::{Leases, Network};

const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;
const BOOTP: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
/// Machines come and go, their addresses stay; a long lease only means fewer questions.
const LEASE_SECONDS: u32 = 24 * 3600;

/// The switch's own hardware address.
pub(crate) const OWN: Mac = Mac([0x02, 0x72, 0x6d, 0x61, 0x63, 0x01]);

/// A question of a client.
struct Question<'a> {
    kind: u8,
    /// The fixed part.
    bootp: &'a [u8],
    client: Mac,
    wanted: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    is_firmware: bool,
}

/// The answer to a frame if it is a question for us, and whether a lease is new.
pub(crate) fn answer(frame: &[u8], network: Network, leases: &mut Leases) -> Option<(Vec<u8>, bool)> {
    let question = question(frame)?;
    if question.server.is_some_and(|server| server != network.switch()) {
        return None;
    }
    let (address, is_new) = leases.address(network, question.client)?;
    let kind = match question.kind {
        DISCOVER => OFFER,
        REQUEST if question.wanted.is_none_or(|wanted| wanted == address) => ACK,
        REQUEST => NAK,
        _ => return None,
    };
    Some((reply(&question, kind, address, network), is_new))
}

/// Whether a frame asks for an address.
pub(crate) fn is_question(frame: &[u8]) -> bool {
    question(frame).is_some()
}

/// Whether firmware asks that boots from the network.
pub(crate) fn is_firmware(frame: &[u8]) -> bool {
    question(frame).is_some_and(|question| question.is_firmware)
}

fn question(frame: &[u8]) -> Option<Question<'_>> {
    let (_, source) = addresses(frame)?;
    let packet = frame.get(ETHERNET..)?;
    if frame[12..14] != [0x08, 0x00] || *packet.first()? >> 4 != 4 || *packet.get(9)? != 17 {
        return None;
    }
    let datagram = packet.get(usize::from(packet[0] & 15) * 4..)?;
    if datagram.get(..4)? != [0, 68, 0, 67] {
        return None;
    }
    let bootp = datagram.get(UDP..)?;
    // A request (1) on Ethernet (1) with addresses of six bytes.
    if bootp.get(..3)? != [1, 1, 6] || bootp.get(BOOTP..BOOTP + 4)? != COOKIE {
        return None;
    }
    let mut question = Question {
        kind: 0,
        bootp: &bootp[..BOOTP],
        client: source,
        wanted: None,
        server: None,
        is_firmware: false,
    };
    question.client = Mac(bootp[28..34].try_into().ok()?);
    let current = Ipv4Addr::from(<[u8; 4]>::try_from(&bootp[12..16]).ok()?);
    question.wanted = (!current.is_unspecified()).then_some(current);
    let mut options = &bootp[BOOTP + 4..];
    while let [code, rest @ ..] = options {
        match code {
            0 => options = rest,
            255 => break,
            code => {
                let [length, rest @ ..] = rest else { break };
                let value = rest.get(..usize::from(*length))?;
                let address = || <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
                match code {
                    50 => question.wanted = address(),
                    53 => question.kind = *value.first()?,
                    54 => question.server = address(),
                    60 => {
                        question.is_firmware |=
                            value.starts_with(b"PXEClient") || value.starts_with(b"HTTPClient");
                    }
                    _ => {}
                }
                options = &rest[usize::from(*length)..];
            }
        }
    }
    Some(question)
}

fn reply(question: &Question<'_>, kind: u8, address: Ipv4Addr, network: Network) -> Vec<u8> {
    let mut bootp = vec![0; BOOTP];
    bootp[..3].copy_from_slice(&[2, 1, 6]);
    // Transaction, flags and the client's address come back as they were.
    bootp[4..8].copy_from_slice(&question.bootp[4..8]);
    bootp[10..12].copy_from_slice(&question.bootp[10..12]);
    bootp[28..44].copy_from_slice(&question.bootp[28..44]);
    bootp.extend(COOKIE);
    bootp.extend([53, 1, kind]);
    option(&mut bootp, 54, &network.switch().octets());
    if kind != NAK {
        bootp[16..20].copy_from_slice(&address.octets());
        option(&mut bootp, 1, &network.mask().octets());
        option(&mut bootp, 51, &LEASE_SECONDS.to_be_bytes());
    }
    bootp.push(255);
    bootp.resize(bootp.len().max(300), 0);
    wrap(question.client, network.switch(), &bootp)
}

fn option(bootp: &mut Vec<u8>, code: u8, value: &[u8]) {
    bootp.extend([code, u8::try_from(value.len()).expect("options are short")]);
    bootp.extend(value);
}

/// Ethernet, IP and UDP around the answer. It is sent to everybody's IP address, which every client
/// takes, but to the one hardware address.
fn wrap(to: Mac, from: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u16::try_from(bytes).expect("an answer is short").to_be_bytes();
    let mut frame = Vec::with_capacity(ETHERNET + IP + UDP + payload.len());
    frame.extend(to.0);
    frame.extend(OWN.0);
    frame.extend([0x08, 0x00]);
    let mut ip = [0; IP];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&length(IP + UDP + payload.len()));
    (ip[8], ip[9]) = (64, 17);
    ip[12..16].copy_from_slice(&from.octets());
    ip[16..20].copy_from_slice(&[255; 4]);
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(ip);
    frame.extend([0, 67, 0, 68]);
    frame.extend(length(UDP + payload.len()));
    // No UDP checksum: it is optional, and these frames never leave this process's memory.
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("it was folded")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A client's frame.
    pub(crate) fn ask(mac: Mac, kind: u8, options: &[u8]) -> Vec<u8> {
        let mut bootp = vec![0; BOOTP];
        bootp[..3].copy_from_slice(&[1, 1, 6]);
        bootp[4..8].copy_from_slice(b"xid!");
        bootp[28..34].copy_from_slice(&mac.0);
        bootp.extend(COOKIE);
        bootp.extend([53, 1, kind]);
        bootp.extend(options);
        bootp.push(255);
        let mut frame = wrap(Mac([0xff; 6]), Ipv4Addr::UNSPECIFIED, &bootp);
        frame[6..12].copy_from_slice(&mac.0);
        frame[ETHERNET + IP..ETHERNET + IP + 4].copy_from_slice(&[0, 68, 0, 67]);
        frame
    }

    fn kind_and_address(frame: &[u8]) -> (u8, Ipv4Addr) {
        let bootp = &frame[ETHERNET + IP + UDP..];
        assert_eq!(&bootp[4..8], b"xid!");
        let address = <[u8; 4]>::try_from(&bootp[16..20]).expect("four bytes");
        (bootp[BOOTP + 6], address.into())
    }

    #[test]
    fn a_client_gets_an_offer_then_the_same_address() {
        let network = Network { base: Ipv4Addr::new(10, 88, 0, 0) };
        let mut leases = Leases::default();
        let mac = Mac([2, 1, 2, 3, 4, 5]);
        let (offer, is_new) = answer(&ask(mac, DISCOVER, &[]), network, &mut leases).expect("an offer");
        let mine = Ipv4Addr::new(10, 88, 0, 10);
        assert_eq!((kind_and_address(&offer), is_new), ((OFFER, mine), true));
        assert_eq!(checksum(&offer[ETHERNET..ETHERNET + IP]), 0, "the header sums up");
        let wanted = [50, 4, 10, 88, 0, 10, 54, 4, 10, 88, 0, 1];
        let (ack, is_new) = answer(&ask(mac, REQUEST, &wanted), network, &mut leases).expect("an ack");
        assert_eq!((kind_and_address(&ack), is_new), ((ACK, mine), false));
        let (nak, _) =
            answer(&ask(mac, REQUEST, &[50, 4, 192, 168, 0, 9]), network, &mut leases).expect("a nak");
        assert_eq!(kind_and_address(&nak), (NAK, Ipv4Addr::UNSPECIFIED));
        let other_server = [54, 4, 10, 0, 0, 1];
        assert!(answer(&ask(mac, REQUEST, &other_server), network, &mut leases).is_none());
    }

    #[test]
    fn whatever_else_is_on_the_wire_is_passed_over() {
        let network = Network { base: Ipv4Addr::new(10, 88, 0, 0) };
        let mut leases = Leases::default();
        let whole = ask(Mac([2, 0, 0, 0, 0, 1]), DISCOVER, &[50, 4, 10, 88, 0, 10]);
        for end in 0..whole.len() {
            // Never a panic, whatever is cut off.
            let _ = answer(&whole[..end], network, &mut leases);
        }
        let mut arp = whole.clone();
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        assert!(answer(&arp, network, &mut leases).is_none());
    }
}
