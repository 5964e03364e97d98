//! The kernel's rule expressions: load something, compare it, act.

use std::net::Ipv4Addr;

use crate::Subnet;
use crate::model::Protocol;
use crate::netlink::Message;

/// A condition or an action; a rule is a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    /// The interface it came in by is (not) this one.
    InputIs(String, bool),
    OutputIs(String, bool),
    /// The frame carries IPv4; for the bridge family, which sees all frames.
    CarriesIpv4,
    SourceIn(Subnet, bool),
    DestinationIn(Subnet, bool),
    Source(Ipv4Addr),
    Destination(Ipv4Addr),
    /// One of this host's own addresses.
    DestinationIsLocal,
    Protocol(Protocol),
    DestinationPort(u16),
    SourcePort(u16),
    /// Established or related.
    Established,
    /// Its destination was rewritten by a published port.
    Redirected,
    RedirectTo(Ipv4Addr, u16),
    Masquerade,
    Accept,
    Drop,
    Jump(String),
}

use Expression::*;

const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const LIST_ELEMENT: u16 = 1;
const VALUE: u16 = 1;
const VERDICT: u16 = 2;

const FIRST: u32 = 1;
const SECOND: u32 = 2;
const VERDICT_REGISTER: u32 = 0;

const META_INPUT_NAME: u32 = 6;
const META_OUTPUT_NAME: u32 = 7;
const META_PROTOCOL: u32 = 16;
const META_ETHERTYPE: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const SOURCE_OFFSET: u32 = 12;
const DESTINATION_OFFSET: u32 = 16;
const CONNTRACK_STATE: u32 = 0;
const CONNTRACK_STATUS: u32 = 2;
const STATE_ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const STATUS_DESTINATION_NAT: u32 = 1 << 5;
const LOCAL_ADDRESS: u32 = 2;

impl Expression {
    /// Appends the kernel's expressions for this one.
    pub(super) fn encode(&self, list: &mut Message) {
        match self {
            InputIs(name, yes) => interface(list, META_INPUT_NAME, name, *yes),
            OutputIs(name, yes) => interface(list, META_OUTPUT_NAME, name, *yes),
            CarriesIpv4 => {
                meta(list, META_ETHERTYPE);
                compare(list, &(libc::ETH_P_IP as u16).to_be_bytes(), true);
            }
            SourceIn(subnet, yes) => address(list, SOURCE_OFFSET, *subnet, *yes),
            DestinationIn(subnet, yes) => address(list, DESTINATION_OFFSET, *subnet, *yes),
            Source(host) => address(list, SOURCE_OFFSET, Subnet::new(*host, 32), true),
            Destination(host) => address(list, DESTINATION_OFFSET, Subnet::new(*host, 32), true),
            DestinationIsLocal => {
                // Result "type of address", of the destination.
                expression(list, "fib", |data| {
                    data.big(1, FIRST).big(2, 3).big(3, 2);
                });
                compare(list, &LOCAL_ADDRESS.to_ne_bytes(), true);
            }
            Protocol(protocol) => {
                meta(list, META_PROTOCOL);
                compare(list, &[protocol.number()], true);
            }
            SourcePort(port) => transport(list, 0, *port),
            DestinationPort(port) => transport(list, 2, *port),
            Established => conntrack(list, CONNTRACK_STATE, STATE_ESTABLISHED_OR_RELATED),
            Redirected => conntrack(list, CONNTRACK_STATUS, STATUS_DESTINATION_NAT),
            RedirectTo(host, port) => redirect(list, *host, *port),
            Masquerade => expression(list, "masq", |_| {}),
            Accept => verdict(list, 1, None),
            Drop => verdict(list, 0, None),
            Jump(chain) => verdict(list, -3, Some(chain)),
        }
    }
}

fn interface(list: &mut Message, key: u32, name: &str, yes: bool) {
    let mut padded = [0u8; 16];
    let length = name.len().min(15);
    padded[..length].copy_from_slice(&name.as_bytes()[..length]);
    meta(list, key);
    compare(list, &padded, yes);
}

impl crate::model::Protocol {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

fn expression(list: &mut Message, name: &str, fill: impl FnOnce(&mut Message)) {
    list.nest(LIST_ELEMENT, |element| {
        element.text(EXPRESSION_NAME, name).nest(EXPRESSION_DATA, fill);
    });
}

fn meta(list: &mut Message, key: u32) {
    expression(list, "meta", |data| {
        data.big(1, FIRST).big(2, key);
    });
}

/// Register 1 equals, or does not equal, these bytes.
fn compare(list: &mut Message, value: &[u8], equal: bool) {
    expression(list, "cmp", |data| {
        data.big(1, FIRST).big(2, u32::from(!equal)).nest(3, |inner| {
            inner.attribute(VALUE, value);
        });
    });
}

fn load(list: &mut Message, header: u32, offset: u32, length: u32) {
    expression(list, "payload", |data| {
        data.big(1, FIRST).big(2, header).big(3, offset).big(4, length);
    });
}

/// Keeps the bits of `mask` of the four bytes in register 1.
fn keep_bits(list: &mut Message, mask: [u8; 4]) {
    expression(list, "bitwise", |data| {
        data.big(1, FIRST).big(2, FIRST).big(3, 4);
        data.nest(4, |inner| {
            inner.attribute(VALUE, &mask);
        });
        data.nest(5, |inner| {
            inner.attribute(VALUE, &[0; 4]);
        });
    });
}

fn address(list: &mut Message, offset: u32, subnet: Subnet, yes: bool) {
    load(list, NETWORK_HEADER, offset, 4);
    if subnet.prefix() < 32 {
        keep_bits(list, subnet.netmask().octets());
    }
    compare(list, &subnet.address().octets(), yes);
}

fn transport(list: &mut Message, offset: u32, port: u16) {
    load(list, TRANSPORT_HEADER, offset, 2);
    compare(list, &port.to_be_bytes(), true);
}

/// Any of these bits of the connection's state or status is set.
fn conntrack(list: &mut Message, key: u32, bits: u32) {
    expression(list, "ct", |data| {
        data.big(1, FIRST).big(2, key);
    });
    keep_bits(list, bits.to_ne_bytes());
    compare(list, &[0; 4], false);
}

fn immediate(list: &mut Message, register: u32, value: &[u8]) {
    expression(list, "immediate", |data| {
        data.big(1, register).nest(2, |inner| {
            inner.attribute(VALUE, value);
        });
    });
}

fn redirect(list: &mut Message, host: Ipv4Addr, port: u16) {
    immediate(list, FIRST, &host.octets());
    immediate(list, SECOND, &port.to_be_bytes());
    expression(list, "nat", |data| {
        // Kind: destination; family; address and port registers.
        data.big(1, 1).big(2, libc::NFPROTO_IPV4 as u32).big(3, FIRST).big(5, SECOND);
    });
}

fn verdict(list: &mut Message, code: i32, chain: Option<&str>) {
    expression(list, "immediate", |data| {
        data.big(1, VERDICT_REGISTER).nest(2, |inner| {
            inner.nest(VERDICT, |verdict| {
                verdict.big(1, code as u32);
                if let Some(chain) = chain {
                    verdict.text(2, chain);
                }
            });
        });
    });
}
