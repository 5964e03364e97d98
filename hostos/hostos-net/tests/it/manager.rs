//! A link's life: lease, reboot, a server that is gone, another configuration, a router's word.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hostos_net::{Configuration, Network, NetworkUpError, Places};

use crate::neighbour::{GIVEN, Neighbour, ip, with_neighbour};

const LIMIT: Duration = Duration::from_secs(60);

fn places(dir: &Path) -> Places {
    Places { leases: dir.join("leases"), resolv_conf: dir.join("resolv.conf") }
}

fn configuration(dir: &Path, text: &str) -> Configuration {
    let folder = dir.join("network");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("made");
    fs::write(folder.join("10-test.network"), text).expect("written");
    let (configuration, warnings) = Configuration::below(&[folder]);
    assert_eq!(warnings, Vec::<String>::new());
    configuration
}

/// Brings the network up, and hands it to `look` while it is.
fn up(dir: &Path, text: &str, look: impl AsyncFnOnce(&Network)) -> Result<(), NetworkUpError> {
    let configuration = configuration(dir, text);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let network = Network::bring_up(&configuration, &places(dir), LIMIT).await?;
        look(&network).await;
        Ok(())
    })
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

const DHCP: &str = "[Match]\nName=veth0\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n[DHCP]\nUseDomains=yes\nRouteMetric=77\nHostname=our-name\n";

fn option(request: &[(u8, Vec<u8>)], code: u8) -> Option<&[u8]> {
    request.iter().find(|(other, _)| *other == code).map(|(_, value)| value.as_slice())
}

#[test]
fn a_lease_is_taken_kept_over_a_reboot_and_over_a_servers_absence() {
    with_neighbour(|neighbour: &Neighbour| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let resolv_conf = || fs::read_to_string(dir.path().join("resolv.conf")).unwrap_or_default();
        up(dir.path(), DHCP, async |network| {
            let online = network.online().expect("it has an address");
            assert_eq!((online.link.as_str(), online.address), ("veth0", GIVEN.into()));
            assert_eq!(network.hostname().as_deref(), Some("given-name"));
            assert_eq!(network.time_servers(), ["10.77.0.123"]);
            assert!(ip("-4 addr show dev veth0").contains("10.77.0.42/24"));
            let routes = ip("route show default");
            assert!(
                routes.contains("via 10.77.0.1 dev veth0 proto dhcp src 10.77.0.42 metric 77"),
                "{routes}"
            );
            assert_eq!(resolv_conf(), "nameserver 10.77.0.53\nsearch lan.test\n");
            eventually("the lease is kept", || dir.path().join("leases/veth0.json").exists()).await;
        })
        .expect("it comes up");
        let requests = neighbour.requests();
        assert_eq!(option(&requests[0], 53), Some(&[1][..]), "it discovers first");
        assert_eq!(option(&requests[0], 12), Some(&b"our-name"[..]));

        // A reboot: it asks for what it had.
        ip("addr flush dev veth0");
        neighbour.asked.lock().expect("no panic").clear();
        up(dir.path(), DHCP, async |_| {}).expect("it comes up");
        let requests = neighbour.requests();
        assert_eq!(option(&requests[0], 53), Some(&[3][..]), "it requests at once");
        assert_eq!(option(&requests[0], 50), Some(&GIVEN.octets()[..]));

        // A reboot while the server is away: the lease still holds.
        ip("addr flush dev veth0");
        neighbour.mute.store(true, Ordering::SeqCst);
        up(dir.path(), DHCP, async |network| {
            assert_eq!(network.online().expect("it has an address").address, GIVEN);
            assert!(ip("-4 addr show dev veth0").contains("10.77.0.42/24"));
        })
        .expect("it comes up");
    });
}

#[test]
fn a_declared_network_replaces_a_leased_one() {
    with_neighbour(|_| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        up(dir.path(), DHCP, async |_| {}).expect("it comes up");
        let text = "[Match]\nName=veth*\n[Link]\nMTUBytes=1400\nMACAddress=02:00:00:00:00:77\n[Network]\n\
                    Address=10.77.0.7/24\nAddress=fd00:77::7/64\nGateway=10.77.0.1\nDNS=10.77.0.54\nDomains=own.test\n\
                    NTP=time.test\nIPv6AcceptRA=no\n[Route]\nDestination=192.0.2.0/24\nGateway=10.77.0.9\nMetric=5\n";
        up(dir.path(), text, async |network| {
            let online = network.online().expect("it has an address");
            assert_eq!(online.address.to_string(), "10.77.0.7");
            assert_eq!(network.time_servers(), ["time.test"]);
            let addresses = ip("addr show dev veth0");
            assert!(addresses.contains("inet 10.77.0.7/24") && addresses.contains("inet6 fd00:77::7/64"));
            assert!(!addresses.contains("10.77.0.42"), "the lease's address is gone: {addresses}");
            assert!(addresses.contains("mtu 1400") && addresses.contains("02:00:00:00:00:77"), "{addresses}");
            let routes = ip("route");
            assert!(routes.contains("default via 10.77.0.1 dev veth0 proto static"), "{routes}");
            assert!(
                routes.contains("192.0.2.0/24 via 10.77.0.9 dev veth0 proto static metric 5"),
                "{routes}"
            );
            assert!(!routes.contains("dhcp"), "the lease's route is gone: {routes}");
            let text = fs::read_to_string(dir.path().join("resolv.conf")).expect("written");
            assert_eq!(text, "nameserver 10.77.0.54\nsearch own.test\n");
        })
        .expect("it comes up");
    });
}

#[test]
fn a_router_alone_makes_a_network() {
    with_neighbour(|neighbour| {
        neighbour.mute.store(true, Ordering::SeqCst);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let text = "[Match]\nName=veth0\n[Network]\nDHCP=no\nIPv6AcceptRA=yes\n";
        up(dir.path(), text, async |network| {
            let online = network.online().expect("it has an address");
            assert!(online.address.to_string().starts_with("fd00:77:"), "{online:?}");
            let resolv_conf = dir.path().join("resolv.conf");
            eventually("the router's name server is taken", || {
                fs::read_to_string(&resolv_conf).is_ok_and(|text| text == "nameserver fd00:77::53\n")
            })
            .await;
            assert!(ip("-6 route show default").contains("dev veth0 proto ra"));
        })
        .expect("it comes up");
        assert!(neighbour.requests().is_empty(), "DHCP is not asked");
    });
}

#[test]
fn a_link_that_need_not_be_online_holds_nothing_up() {
    with_neighbour(|_| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let text = "[Match]\nName=veth0\n[Link]\nRequiredForOnline=no\n[Network]\nDHCP=yes\n";
        up(dir.path(), text, async |network| assert_eq!(network.online(), None)).expect("it comes up");
        let text = "[Match]\nName=veth0\n[Link]\nUnmanaged=yes\n";
        up(dir.path(), text, async |network| assert_eq!(network.online(), None)).expect("it comes up");
    });
}
