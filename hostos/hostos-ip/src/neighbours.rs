//! `ip neigh`: who is near, and at which hardware address.

use std::net::IpAddr;

use futures_util::TryStreamExt as _;
use rtnetlink::Handle;
use rtnetlink::packet_route::link::LinkLayerType;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use serde::Serialize;

use crate::IpError;
use crate::call::{Call, Family, Form};
use crate::links::{Link, name_of};
use crate::words;

#[derive(Serialize)]
struct Neighbour {
    dst: IpAddr,
    dev: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lladdr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    router: Option<()>,
    state: Vec<&'static str>,
}

pub(crate) async fn show(call: &Call, handle: &Handle, links: &[Link]) -> Result<String, IpError> {
    let messages: Vec<_> =
        handle.neighbours().get().execute().try_collect().await.map_err(IpError::Kernel)?;
    let mut found: Vec<Neighbour> = messages.into_iter().filter_map(|message| read(message, links)).collect();
    found.retain(|neighbour| {
        let family = if neighbour.dst.is_ipv4() { Family::Four } else { Family::Six };
        call.takes(family) && call.dev.as_ref().is_none_or(|dev| *dev == neighbour.dev)
    });
    if matches!(call.form, Form::Json | Form::BriefJson) {
        return Ok(words::json(&found));
    }
    Ok(found.iter().map(|neighbour| neighbour.line(call.dev.is_none())).collect())
}

/// Nothing for entries that iproute2 leaves out too: those that need no resolving.
fn read(message: NeighbourMessage, links: &[Link]) -> Option<Neighbour> {
    let state = match message.header.state {
        NeighbourState::Incomplete => "INCOMPLETE",
        NeighbourState::Reachable => "REACHABLE",
        NeighbourState::Stale => "STALE",
        NeighbourState::Delay => "DELAY",
        NeighbourState::Probe => "PROBE",
        NeighbourState::Failed => "FAILED",
        NeighbourState::Permanent => "PERMANENT",
        _ => return None,
    };
    let mut dst = None;
    let mut hardware = None;
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => dst = Some(IpAddr::V4(v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => dst = Some(IpAddr::V6(v6)),
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                hardware = Some(words::hardware(&bytes, LinkLayerType::Ether));
            }
            _ => {}
        }
    }
    Some(Neighbour {
        dst: dst?,
        dev: name_of(links, message.header.ifindex),
        lladdr: hardware,
        router: message.header.flags.contains(NeighbourFlags::Router).then_some(()),
        state: vec![state],
    })
}

impl Neighbour {
    fn line(&self, with_dev: bool) -> String {
        let mut text = format!("{} ", self.dst);
        if with_dev {
            text.push_str(&format!("dev {} ", self.dev));
        }
        if let Some(hardware) = &self.lladdr {
            text.push_str(&format!("lladdr {hardware} "));
        }
        if self.router.is_some() {
            text.push_str("router ");
        }
        format!("{text}{} \n", self.state.join(","))
    }
}
