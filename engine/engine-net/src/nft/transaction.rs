//! One netlink batch for the whole table.
//!
//! Table and chains are made if missing, our chains emptied and filled again:
//! to every packet the change is one moment, and the users' chain stays.

use super::rules::{Chain, Family};
use super::{TABLE, USER_CHAIN};
use crate::error::NetError;
use crate::netlink::{APPEND, CREATE, DUMP, Message, NetlinkError, Socket, attributes};

const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DELETE_RULE: u16 = SUBSYSTEM | 8;
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;

impl Family {
    fn number(self) -> u8 {
        match self {
            Self::Ip => libc::NFPROTO_IPV4 as u8,
            Self::Bridge => libc::NFPROTO_BRIDGE as u8,
        }
    }
}

const FAMILIES: [Family; 2] = [Family::Ip, Family::Bridge];

fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// The batch marks name the subsystem in network order.
fn mark(kind: u16) -> Message {
    Message::new(kind, 0, &[0, 0, 0, 10], "replace the firewall table")
}

fn open() -> Result<Socket, NetError> {
    Ok(Socket::open(libc::NETLINK_NETFILTER)
        .map_err(|error| NetlinkError::new("open a netfilter socket", error))?)
}

pub(super) fn replace(chains: &[Chain]) -> Result<(), NetError> {
    let has_bridge = chains.iter().any(|chain| chain.family == Family::Bridge && !chain.rules.is_empty());
    match send(chains, true) {
        // Without icc=off nobody needs the bridge family, which a kernel may lack.
        Err(error) if !has_bridge && is_missing(&error) => send(chains, false),
        other => other,
    }
}

fn is_missing(error: &NetError) -> bool {
    matches!(error, NetError::Netlink(error) if matches!(error.errno(), Some(libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::ENOENT)))
}

fn send(chains: &[Chain], with_bridge: bool) -> Result<(), NetError> {
    let wanted = |family: Family| with_bridge || family == Family::Ip;
    let mut batch = vec![mark(BEGIN)];
    for family in FAMILIES.into_iter().filter(|family| wanted(*family)) {
        let mut table =
            Message::new(NEW_TABLE, CREATE, &header(family.number()), "create the firewall table");
        table.text(1, TABLE).big(2, 0);
        batch.push(table);
    }
    batch.push(new_chain(Family::Ip, USER_CHAIN, None));
    let chains: Vec<&Chain> = chains.iter().filter(|chain| wanted(chain.family)).collect();
    for chain in &chains {
        batch.push(new_chain(chain.family, chain.name, chain.hook));
    }
    for chain in &chains {
        let purpose = format!("empty the firewall chain {}", chain.name);
        let mut flush = Message::new(DELETE_RULE, 0, &header(chain.family.number()), purpose);
        flush.text(1, TABLE).text(2, chain.name);
        batch.push(flush);
    }
    for chain in &chains {
        for rule in &chain.rules {
            let purpose = format!("add a rule to the firewall chain {}: {rule:?}", chain.name);
            let mut message =
                Message::new(NEW_RULE, CREATE | APPEND, &header(chain.family.number()), purpose);
            message.text(1, TABLE).text(2, chain.name).nest(4, |list| {
                for expression in rule {
                    expression.encode(list);
                }
            });
            batch.push(message);
        }
    }
    batch.push(mark(END));
    open()?.transaction(&mut batch)?;
    Ok(())
}

fn new_chain(family: Family, name: &str, hook: Option<super::rules::Hook>) -> Message {
    let purpose = format!("create the firewall chain {name}");
    let mut message = Message::new(NEW_CHAIN, CREATE, &header(family.number()), purpose);
    message.text(1, TABLE).text(3, name);
    if let Some(hook) = hook {
        message.nest(4, |inner| {
            inner.big(1, hook.number).big(2, hook.priority as u32);
        });
        message.text(7, hook.kind);
    }
    message
}

/// How many rules our chains hold, the users' chain left out.
pub(super) fn count_rules() -> Result<usize, NetError> {
    let mut socket = open()?;
    let mut count = 0;
    for family in FAMILIES {
        let mut message = Message::new(GET_RULE, DUMP, &header(family.number()), "list the firewall rules");
        message.text(1, TABLE);
        let listed = socket.dump(&mut message, |_, body| {
            let Some(rest) = body.get(4..) else { return };
            let text = |wanted: u16| {
                attributes(rest)
                    .find(|(kind, _)| *kind == wanted)
                    .map(|(_, value)| value.strip_suffix(&[0]).unwrap_or(value))
            };
            if text(1) == Some(TABLE.as_bytes())
                && text(2).is_some_and(|chain| chain != USER_CHAIN.as_bytes())
            {
                count += 1;
            }
        });
        match listed {
            // No such table, or no such family: no rules.
            Err(error)
                if matches!(error.errno(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT)) => {}
            other => other?,
        }
    }
    Ok(count)
}

pub(super) fn remove() -> Result<(), NetError> {
    let mut socket = open()?;
    for family in FAMILIES {
        let mut table = Message::new(DELETE_TABLE, 0, &header(family.number()), "delete the firewall table");
        table.text(1, TABLE);
        match socket.transaction(&mut [mark(BEGIN), table, mark(END)]) {
            Err(error)
                if matches!(error.errno(), Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT)) => {}
            other => other?,
        }
    }
    Ok(())
}
