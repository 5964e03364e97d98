//! Routes: those that leases and files ask for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use futures_util::TryStreamExt as _;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope,
};

use crate::file::StaticRoute;
use crate::links::{Link, Links, NetworkError};

impl Links {
    /// Sends what `route` says through `link`. `metric` counts unless the route has its own; lower wins.
    pub async fn add_route(
        &self,
        link: &Link,
        route: &StaticRoute,
        metric: u32,
        protocol: RouteProtocol,
    ) -> Result<(), NetworkError> {
        let metric = route.metric.unwrap_or(metric);
        let message = if route.is_ipv4().unwrap_or(true) {
            ipv4(link, route, metric, protocol)
        } else {
            ipv6(link, route, metric, protocol)
        };
        let what = match (route.destination, route.gateway) {
            (None, Some(gateway)) => format!("route through {gateway} on {}", link.name),
            (Some(to), _) => format!("route to {}/{} on {}", to.address, to.bits, link.name),
            (None, None) => format!("route through {}", link.name),
        };
        let added = self.handle.route().add(message).replace().execute().await;
        added.map_err(|source| NetworkError::Request { what, source })
    }

    /// Forgets the IPv4 routes that [`Links::add_route`] made on `link`.
    pub async fn remove_routes(&self, link: &Link) -> Result<(), NetworkError> {
        let mut request = RouteMessageBuilder::<Ipv4Addr>::new().build();
        // The builder's defaults are for new routes; a question must leave them open.
        request.header =
            RouteHeader { address_family: request.header.address_family, ..RouteHeader::default() };
        let failed = |source| NetworkError::Request { what: "list the routes".to_owned(), source };
        let all: Vec<RouteMessage> =
            self.handle.route().get(request).execute().try_collect().await.map_err(failed)?;
        for message in all {
            let ours = matches!(message.header.protocol, RouteProtocol::Dhcp | RouteProtocol::Static)
                && message.attributes.contains(&RouteAttribute::Oif(link.index));
            if ours {
                let what = format!("forget an old route on {}", link.name);
                let gone = self.handle.route().del(message).execute().await;
                gone.map_err(|source| NetworkError::Request { what, source })?;
            }
        }
        Ok(())
    }
}

fn ipv4(link: &Link, route: &StaticRoute, metric: u32, protocol: RouteProtocol) -> RouteMessage {
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .output_interface(link.index)
        .priority(metric)
        .protocol(protocol);
    if let Some(IpAddr::V4(gateway)) = route.gateway {
        builder = builder.gateway(gateway);
    } else {
        builder = builder.scope(RouteScope::Link);
    }
    if let Some((IpAddr::V4(address), bits)) = route.destination.map(|to| (to.address, to.bits)) {
        builder = builder.destination_prefix(network(address, bits), bits);
    }
    if let Some(IpAddr::V4(source)) = route.source {
        builder = builder.pref_source(source);
    }
    if route.on_link {
        builder = builder.onlink();
    }
    with_mtu(builder.build(), route.mtu)
}

fn ipv6(link: &Link, route: &StaticRoute, metric: u32, protocol: RouteProtocol) -> RouteMessage {
    let mut builder = RouteMessageBuilder::<Ipv6Addr>::new()
        .output_interface(link.index)
        .priority(metric)
        .protocol(protocol);
    if let Some(IpAddr::V6(gateway)) = route.gateway {
        builder = builder.gateway(gateway);
    }
    if let Some((IpAddr::V6(address), bits)) = route.destination.map(|to| (to.address, to.bits)) {
        let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
        builder = builder.destination_prefix(Ipv6Addr::from(u128::from(address) & mask), bits);
    }
    if let Some(IpAddr::V6(source)) = route.source {
        builder = builder.pref_source(source);
    }
    if route.on_link {
        builder = builder.onlink();
    }
    with_mtu(builder.build(), route.mtu)
}

/// The kernel refuses destinations with bits behind their prefix.
fn network(address: Ipv4Addr, bits: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
    Ipv4Addr::from(u32::from(address) & mask)
}

fn with_mtu(mut message: RouteMessage, mtu: Option<u32>) -> RouteMessage {
    if let Some(mtu) = mtu {
        message.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
    }
    message
}

/// Tells the gateway about the machine with one packet, so that whoever waits behind it need not ask for
/// the machine's hardware address first. It goes to the discard port: nobody listens, the neighbours'
/// tables are what counts.
pub(crate) fn greet(from: IpAddr, router: IpAddr) {
    if let Ok(socket) = UdpSocket::bind(SocketAddr::from((from, 0))) {
        let _ = socket.send_to(&[0], SocketAddr::from((router, 9)));
    }
}
