//! `ip link`: the interfaces.

use futures_util::TryStreamExt as _;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use serde::Serialize;

use crate::IpError;
use crate::call::{Call, Form};
use crate::words;

/// An interface, as far as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) flags: LinkFlags,
    pub(crate) layer: LinkLayerType,
    mtu: u32,
    queue: String,
    state: &'static str,
    queue_length: Option<u32>,
    hardware: Vec<u8>,
    broadcast: Vec<u8>,
    /// The one it is a part of.
    controller: Option<u32>,
    /// Its other end, or what it lies on.
    peer: Option<u32>,
    /// The network namespace of the peer, if that is another one.
    peer_namespace: Option<i32>,
    kind: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct LinkJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    ifindex: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_index: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    ifname: String,
    flags: Vec<&'static str>,
    mtu: u32,
    qdisc: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    master: Option<String>,
    operstate: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    linkmode: Option<&'static str>,
    group: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    txqlen: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    broadcast: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_netnsid: Option<i32>,
}

#[derive(Serialize)]
struct BriefJson {
    ifname: String,
    operstate: &'static str,
    address: String,
    flags: Vec<&'static str>,
}

/// Every interface, in the kernel's order.
pub(crate) async fn list(handle: &Handle) -> Result<Vec<Link>, IpError> {
    let messages: Vec<_> = handle.link().get().execute().try_collect().await.map_err(IpError::Kernel)?;
    let mut links: Vec<Link> = messages.into_iter().map(read).collect();
    links.sort_by_key(|link| link.index);
    Ok(links)
}

fn read(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        flags: message.header.flags,
        layer: message.header.link_layer_type,
        mtu: 0,
        queue: String::new(),
        state: "UNKNOWN",
        queue_length: None,
        hardware: Vec::new(),
        broadcast: Vec::new(),
        controller: None,
        peer: None,
        peer_namespace: None,
        kind: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Qdisc(queue) => link.queue = queue,
            LinkAttribute::OperState(state) => link.state = words::state(state),
            LinkAttribute::TxQueueLen(length) => {
                link.queue_length = Some(length).filter(|length| *length > 0)
            }
            LinkAttribute::Address(bytes) => link.hardware = bytes,
            LinkAttribute::Broadcast(bytes) => link.broadcast = bytes,
            LinkAttribute::Controller(index) => link.controller = Some(index),
            LinkAttribute::Link(index) => link.peer = Some(index),
            LinkAttribute::LinkNetNsId(id) => link.peer_namespace = Some(id),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(InfoKind::Other(name)) => Some(name.clone()),
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link
}

/// The name of a link by its number.
pub(crate) fn name_of(links: &[Link], index: u32) -> String {
    let link = links.iter().find(|link| link.index == index);
    link.map_or_else(|| format!("if{index}"), |link| link.name.clone())
}

impl Link {
    /// Whether the filters of a call let it through.
    pub(crate) fn is_wanted(&self, call: &Call) -> bool {
        call.dev.as_ref().is_none_or(|name| *name == self.name)
            && (!call.up || self.flags.contains(LinkFlags::Up))
            && call.kind.as_ref().is_none_or(|kind| self.kind.as_ref() == Some(kind))
    }

    /// `eth0`, or `eth0@if5` for one end of a pair.
    fn full_name(&self, links: &[Link]) -> String {
        match self.peer {
            // Its own number there is a link that has no peer.
            None => self.name.clone(),
            Some(0) => format!("{}@NONE", self.name),
            Some(index) if self.peer_namespace.is_some() => format!("{}@if{index}", self.name),
            Some(index) if index == self.index => self.name.clone(),
            Some(index) => format!("{}@{}", self.name, name_of(links, index)),
        }
    }

    /// The first line, without its end.
    pub(crate) fn headline(&self, links: &[Link], with_mode: bool) -> String {
        let mut text = format!(
            "{}: {}: <{}> mtu {} qdisc {} ",
            self.index,
            self.full_name(links),
            words::flags(self.flags).join(","),
            self.mtu,
            self.queue
        );
        if let Some(index) = self.controller {
            text.push_str(&format!("master {} ", name_of(links, index)));
        }
        text.push_str(&format!("state {} ", self.state));
        if with_mode {
            text.push_str("mode DEFAULT ");
        }
        text.push_str("group default ");
        if let Some(length) = self.queue_length {
            text.push_str(&format!("qlen {length}"));
        }
        text
    }

    /// The line about its hardware.
    pub(crate) fn hardware_line(&self) -> String {
        let mut text = format!("    link/{} ", words::layer(self.layer));
        if !self.hardware.is_empty() {
            text.push_str(&words::hardware(&self.hardware, self.layer));
        }
        if !self.broadcast.is_empty() {
            let word = if self.flags.contains(LinkFlags::Pointopoint) { "peer" } else { "brd" };
            text.push_str(&format!(" {word} {}", words::hardware(&self.broadcast, self.layer)));
        }
        if let Some(id) = self.peer_namespace {
            text.push_str(&format!(" link-netnsid {id}"));
        }
        text
    }

    pub(crate) fn brief(&self, links: &[Link]) -> String {
        format!("{:<16} {:<14} ", self.full_name(links), self.state)
    }

    pub(crate) fn state(&self) -> &'static str {
        self.state
    }

    pub(crate) fn json(&self, links: &[Link], with_mode: bool, with_hardware: bool) -> LinkJson {
        let other = self.peer.filter(|index| *index != self.index || self.peer_namespace.is_some());
        LinkJson {
            ifindex: Some(self.index),
            link_index: other.filter(|_| self.peer_namespace.is_some()),
            link: other.filter(|_| self.peer_namespace.is_none()).map(|index| name_of(links, index)),
            ifname: self.name.clone(),
            flags: words::flags(self.flags),
            mtu: self.mtu,
            qdisc: self.queue.clone(),
            master: self.controller.map(|index| name_of(links, index)),
            operstate: self.state,
            linkmode: with_mode.then_some("DEFAULT"),
            group: "default",
            txqlen: self.queue_length,
            link_type: with_hardware.then(|| words::layer(self.layer)),
            address: (with_hardware && !self.hardware.is_empty())
                .then(|| words::hardware(&self.hardware, self.layer)),
            broadcast: (with_hardware && !self.broadcast.is_empty())
                .then(|| words::hardware(&self.broadcast, self.layer)),
            link_netnsid: self.peer_namespace.filter(|_| with_hardware),
        }
    }
}

pub(crate) fn show(call: &Call, links: &[Link]) -> String {
    let wanted: Vec<&Link> = links.iter().filter(|link| link.is_wanted(call)).collect();
    match call.form {
        Form::Json => {
            words::json(&wanted.iter().map(|link| link.json(links, true, true)).collect::<Vec<_>>())
        }
        Form::BriefJson => {
            let brief = wanted.iter().map(|link| BriefJson {
                ifname: link.name.clone(),
                operstate: link.state,
                address: words::hardware(&link.hardware, link.layer),
                flags: words::flags(link.flags),
            });
            words::json(&brief.collect::<Vec<_>>())
        }
        Form::Brief => wanted
            .iter()
            .map(|link| {
                let hardware = words::hardware(&link.hardware, link.layer);
                let flags = words::flags(link.flags).join(",");
                format!("{}{hardware} <{flags}> \n", link.brief(links))
            })
            .collect(),
        Form::Text | Form::OneLine => {
            let end = if call.form == Form::OneLine { "\\" } else { "\n" };
            wanted
                .iter()
                .map(|link| format!("{}{end}{}\n", link.headline(links, true), link.hardware_line()))
                .collect()
        }
    }
}
