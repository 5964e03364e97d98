//! Words that iproute2 has for numbers, and the JSON of a list.

use rtnetlink::packet_route::link::{LinkFlags, LinkLayerType, State};
use serde::Serialize;

pub(crate) fn state(state: State) -> &'static str {
    match state {
        State::NotPresent => "NOTPRESENT",
        State::Down => "DOWN",
        State::LowerLayerDown => "LOWERLAYERDOWN",
        State::Testing => "TESTING",
        State::Dormant => "DORMANT",
        State::Up => "UP",
        _ => "UNKNOWN",
    }
}

pub(crate) fn layer(kind: LinkLayerType) -> String {
    match kind {
        LinkLayerType::Ether => "ether".to_owned(),
        LinkLayerType::Loopback => "loopback".to_owned(),
        LinkLayerType::Ppp => "ppp".to_owned(),
        LinkLayerType::None => "none".to_owned(),
        LinkLayerType::Tunnel => "ipip".to_owned(),
        LinkLayerType::Tunnel6 => "tunnel6".to_owned(),
        LinkLayerType::Sit => "sit".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

pub(crate) fn flags(flags: LinkFlags) -> Vec<&'static str> {
    let names = [
        (LinkFlags::Loopback, "LOOPBACK"),
        (LinkFlags::Broadcast, "BROADCAST"),
        (LinkFlags::Pointopoint, "POINTOPOINT"),
        (LinkFlags::Multicast, "MULTICAST"),
        (LinkFlags::Noarp, "NOARP"),
        (LinkFlags::Allmulti, "ALLMULTI"),
        (LinkFlags::Promisc, "PROMISC"),
        (LinkFlags::Controller, "MASTER"),
        (LinkFlags::Port, "SLAVE"),
        (LinkFlags::Debug, "DEBUG"),
        (LinkFlags::Dynamic, "DYNAMIC"),
        (LinkFlags::Automedia, "AUTOMEDIA"),
        (LinkFlags::Portsel, "PORTSEL"),
        (LinkFlags::Notrailers, "NOTRAILERS"),
        (LinkFlags::Up, "UP"),
        (LinkFlags::LowerUp, "LOWER_UP"),
        (LinkFlags::Dormant, "DORMANT"),
        (LinkFlags::Echo, "ECHO"),
    ];
    let no_carrier = flags.contains(LinkFlags::Up) && !flags.contains(LinkFlags::Running);
    let first = no_carrier.then_some("NO-CARRIER");
    let rest = names.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| name);
    first.into_iter().chain(rest).collect()
}

/// `52:54:00:12:34:56`; tunnels have an IPv4 or IPv6 address there.
pub(crate) fn hardware(bytes: &[u8], layer: LinkLayerType) -> String {
    match (layer, bytes) {
        (LinkLayerType::Tunnel | LinkLayerType::Sit | LinkLayerType::Ipgre, [a, b, c, d]) => {
            format!("{a}.{b}.{c}.{d}")
        }
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"),
    }
}

/// A list as iproute2 prints it: one line.
pub(crate) fn json<T: Serialize>(items: &[T]) -> String {
    let text = serde_json::to_string(items).expect("names and numbers only");
    format!("{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_in_iproutes_order() {
        let up = LinkFlags::Up | LinkFlags::Running | LinkFlags::Loopback | LinkFlags::LowerUp;
        assert_eq!(flags(up), ["LOOPBACK", "UP", "LOWER_UP"]);
        assert_eq!(flags(LinkFlags::Up | LinkFlags::Broadcast), ["NO-CARRIER", "BROADCAST", "UP"]);
    }
}
