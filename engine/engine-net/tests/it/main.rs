//! Networks in namespaces of the test's own: bridge, ports, isolation, names.
//!
//! Needs root. Each test moves its thread into a new network and mount
//! namespace, so the host's interfaces, routes and firewall are never touched.

mod rig;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine_net::model::{Link, Protocol, PublishedPort};
use engine_net::{DnsServer, Firewall, Monitor, Names, Netns, Reverse, Rules};
use rig::{Rig, WORLD, rig};

fn port(rig: &Rig, host_ip: &str, host_port: u16, container: Ipv4Addr) -> PublishedPort {
    PublishedPort {
        protocol: Protocol::Tcp,
        host_ip: host_ip.parse().unwrap(),
        host_port,
        container_ip: container,
        container_port: 80,
        bridge: rig.network.bridge.clone(),
    }
}

#[tokio::test]
async fn published_ports_are_reached_from_everywhere_and_others_from_nowhere() {
    let Some(rig) = rig() else { return };
    let (one, two) = (rig.container("one"), rig.container("two"));
    one.serve(80);
    one.serve(81);
    let firewall = Firewall::new();
    let ports = vec![port(&rig, "0.0.0.0", 8080, one.address), port(&rig, "127.0.0.1", 8081, one.address)];
    firewall.apply(&Rules { networks: vec![rig.network.clone()], ports, links: vec![] }).unwrap();

    let gateway = rig.network.pool.gateway.unwrap();
    assert_eq!(rig::ask(one.address, 80).unwrap(), gateway.to_string(), "host to container");
    rig::ask(Ipv4Addr::LOCALHOST, 8080).expect("host by its loopback");
    rig::ask(Ipv4Addr::LOCALHOST, 8081).expect("a port on the loopback only");
    rig::ask(gateway, 8080).expect("host by the bridge's address");
    assert!(rig::ask(gateway, 8081).is_err(), "a loopback port is on no other address");
    two.ask(gateway, 8080).expect("neighbour by the host's address");
    one.ask(gateway, 8080).expect("itself by the host's address");
    two.ask(one.address, 81).expect("neighbours see every port");
    rig.world.ask(rig::HOST, 8080).expect("the world by the published port");
    assert!(rig.world.ask(one.address, 80).is_err(), "the world by the container's own address");
    assert!(rig.world.ask(rig::HOST, 8081).is_err());
    assert!(two.ask(Ipv4Addr::new(127, 0, 0, 1), 8081).is_err());
    rig.world.serve(90);
    assert_eq!(one.ask(WORLD, 90).unwrap(), rig::HOST.to_string(), "out, under the host's address");
    firewall.remove().unwrap();
}

#[tokio::test]
async fn networks_are_apart_and_internal_ones_closed() {
    let Some(rig) = rig() else { return };
    let one = rig.container("one");
    one.serve(80);
    let other = rig.network("rmbr1", "10.124.0.0/16");
    let mut internal = rig.network("rmbr2", "10.125.0.0/16");
    internal.internal = true;
    let foreign = rig.container_in(&other, "foreign");
    let shut = rig.container_in(&internal, "shut");
    shut.serve(80);
    rig.world.serve(90);
    let firewall = Firewall::new();
    let networks = vec![rig.network.clone(), other, internal];
    let ports = vec![port(&rig, "0.0.0.0", 8080, one.address)];
    firewall.apply(&Rules { networks, ports, links: vec![] }).unwrap();
    assert!(foreign.ask(one.address, 80).is_err());
    foreign.ask(rig::HOST, 8080).expect("a published port is open to other networks too");
    foreign.ask(WORLD, 90).expect("out");
    assert!(shut.ask(WORLD, 90).is_err());
    assert!(rig.world.ask(shut.address, 80).is_err());
    assert!(one.ask(shut.address, 80).is_err());
    firewall.remove().unwrap();
}

#[tokio::test]
async fn without_icc_only_links_connect() {
    let Some(mut rig) = rig() else { return };
    rig.network.icc = false;
    let (server, linked, stranger) =
        (rig.container("server"), rig.container("linked"), rig.container("stranger"));
    server.serve(80);
    server.serve(81);
    let link = Link {
        bridge: rig.network.bridge.clone(),
        from: linked.address,
        to: server.address,
        protocol: Protocol::Tcp,
        port: 80,
    };
    let firewall = Firewall::new();
    let rules = Rules { networks: vec![rig.network.clone()], ports: vec![], links: vec![link] };
    firewall.apply(&rules).unwrap();
    linked.ask(server.address, 80).expect("by the link");
    assert!(linked.ask(server.address, 81).is_err(), "another port");
    assert!(stranger.ask(server.address, 80).is_err(), "without a link");
    rig::ask(server.address, 81).expect("from the host");
    firewall.remove().unwrap();
}

#[tokio::test]
async fn a_flushed_firewall_comes_back_and_the_users_chain_is_theirs() {
    let Some(rig) = rig() else { return };
    let one = rig.container("one");
    one.serve(80);
    let firewall = Firewall::new();
    let rules = |extra: u16| Rules {
        networks: vec![rig.network.clone()],
        ports: vec![port(&rig, "0.0.0.0", 8080, one.address), port(&rig, "0.0.0.0", extra, one.address)],
        links: vec![],
    };
    firewall.apply(&rules(1)).unwrap();
    assert!(firewall.intact().unwrap());
    rig::run(
        "nft",
        &["add", "rule", "ip", "engine", "DOCKER-USER", "ip", "saddr", &WORLD.to_string(), "drop"],
    );
    firewall.apply(&rules(2)).unwrap();
    assert!(rig.world.ask(rig::HOST, 8080).is_err(), "the user's rule survives a replacement");
    let monitor = Monitor::new().unwrap();
    rig::run("nft", &["flush", "ruleset"]);
    tokio::time::timeout(Duration::from_secs(5), monitor.changed()).await.unwrap().unwrap();
    assert!(!firewall.intact().unwrap());
    assert!(firewall.heal().unwrap());
    rig.world.ask(rig::HOST, 8080).expect("healed");
    assert!(!firewall.heal().unwrap());
    firewall.remove().unwrap();
}

struct Fixed;

impl Names for Fixed {
    fn addresses(&self, name: &str) -> Option<Vec<Ipv4Addr>> {
        (name == "db").then(|| vec![Ipv4Addr::new(10, 9, 8, 7)])
    }

    fn name_of(&self, _: Ipv4Addr) -> Reverse {
        Reverse::Foreign
    }

    fn upstreams(&self) -> Vec<IpAddr> {
        Vec::new()
    }
}

#[tokio::test]
async fn names_resolve_inside_even_without_a_firewall() {
    let Some(rig) = rig() else { return };
    let one = rig.container("one");
    let server = DnsServer::start(&one.namespace, Arc::new(Fixed)).unwrap();
    let namespace = one.namespace.clone();
    let answer = tokio::task::spawn_blocking(move || {
        namespace.run(|| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
            socket.send_to(
                b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02db\x00\x00\x01\x00\x01",
                "127.0.0.11:53",
            )?;
            let mut buffer = [0; 512];
            let length = socket.recv(&mut buffer)?;
            Ok(buffer[..length].to_vec())
        })
    })
    .await
    .unwrap()
    .unwrap();
    assert!(answer.ends_with(&[10, 9, 8, 7]));
    assert!(server.is_serving());
}

#[tokio::test]
async fn a_second_network_comes_and_goes_while_running() {
    let Some(rig) = rig() else { return };
    let one = rig.container("one");
    let other = rig.network("rmbr1", "10.124.0.0/16");
    let mut endpoint = rig.endpoint(&other, "second");
    endpoint.interface = one.namespace.free_interface().unwrap();
    assert_eq!(endpoint.interface, "eth1");
    one.namespace.connect(&endpoint, &other, false).unwrap();
    one.namespace.set_default_route(endpoint.gateway).unwrap();
    one.serve(80);
    rig::ask(endpoint.address.unwrap(), 80).expect("on the second network");
    one.namespace.disconnect(&endpoint).unwrap();
    one.namespace.disconnect(&endpoint).expect("twice is no error");
    assert!(rig::ask(endpoint.address.unwrap(), 80).is_err());
}

#[tokio::test]
async fn what_is_made_goes_with_the_namespace() {
    let Some(rig) = rig() else { return };
    let before = rig::interfaces();
    for round in 0..20 {
        let one = rig.container("one");
        let path = one.namespace.path().to_owned();
        drop(one);
        Netns::remove(&path).unwrap();
        assert!(!path.exists(), "round {round}");
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while rig::interfaces() != before {
        assert!(Instant::now() < deadline, "{:?} {before:?}", rig::interfaces());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn connecting_is_fast() {
    let Some(rig) = rig() else { return };
    let mut times = Vec::new();
    for round in 0..20 {
        let start = Instant::now();
        let path = rig.dir.path().join(format!("speed{round}"));
        let namespace = Netns::create(&path).unwrap();
        let created = start.elapsed();
        namespace.connect(&rig.endpoint(&rig.network, &format!("s{round}")), &rig.network, true).unwrap();
        times.push((start.elapsed(), created));
        Netns::remove(&path).unwrap();
    }
    times.sort();
    println!("namespace and connection: median {:?}, of which namespace {:?}", times[10].0, times[10].1);
    let rules = Rules { networks: vec![rig.network.clone()], ..Rules::default() };
    let ports = (0..200).map(|n| port(&rig, "0.0.0.0", 10_000 + n, Ipv4Addr::new(10, 123, 0, 2))).collect();
    let start = Instant::now();
    Firewall::new().apply(&Rules { ports, ..rules }).unwrap();
    println!("firewall with 200 ports: {:?}", start.elapsed());
    // Far above what even a busy machine needs; deleting a veth by hand would show.
    assert!(times[10].0 < Duration::from_millis(500), "{:?}", times[10]);
}
