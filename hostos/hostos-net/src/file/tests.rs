//! What files mean.

use super::*;

fn parse(text: &str) -> (NetworkFile, Vec<String>) {
    let (file, warnings) = NetworkFile::parse("test.network", &[text]);
    (file, warnings.iter().map(ToString::to_string).collect())
}

fn link(name: &str, mac: [u8; 6], driver: &str) -> LinkFacts {
    LinkFacts { name: name.into(), mac: mac.to_vec(), driver: driver.into(), kind: "ether".into() }
}

#[test]
fn a_static_network_is_read_whole() {
    let (file, warnings) = parse(
        "[Match]\nName=eth* ens3\n\n[Network]\nAddress=10.0.0.2/24\nAddress=fd00::2/64\nGateway=10.0.0.1\n\
         DNS=10.0.0.53 fd00::53\nDNS=1.1.1.1\nDomains=example.com ~lan\nNTP=10.0.0.1 time.test\n\
         IPv6AcceptRA=no\nLinkLocalAddressing=no\n\n[Address]\nAddress=192.0.2.1/32\nPeer=192.0.2.2/32\n\n\
         [Route]\nDestination=172.16.0.0/12\nGateway=10.0.0.254\nMetric=50\n\n[Route]\nGateway=fd00::1\n\
         GatewayOnLink=yes\n[Link]\nMTUBytes=9000\nMACAddress=02-00-00-00-00-01\n",
    );
    assert_eq!(warnings, Vec::<String>::new());
    assert!(!file.dhcp4 && !file.link_local && file.accept_ra == Some(false));
    assert_eq!(file.addresses.len(), 3);
    assert_eq!(file.addresses[2].peer, Some("192.0.2.2".parse().expect("an address")));
    assert_eq!(file.routes.len(), 3);
    assert_eq!(file.routes[1].metric, Some(50));
    assert_eq!((file.routes[2].on_link, file.routes[2].is_ipv4()), (true, Some(false)));
    assert_eq!(file.dns.len(), 3);
    assert_eq!(file.domains, ["example.com", "lan"]);
    assert_eq!(file.ntp, ["10.0.0.1", "time.test"]);
    assert_eq!((file.mtu, file.mac), (Some(9000), Some(vec![2, 0, 0, 0, 0, 1])));
}

#[test]
fn dhcp_and_its_settings_are_read() {
    let (file, warnings) = parse(
        "[Match]\nDriver=virtio*\n[Network]\nDHCP=ipv4\n[DHCP]\nUseDNS=no\nUseRoutes=false\nRouteMetric=7\n\
         SendHostname=no\n[DHCPv4]\nHostname=web-1\n",
    );
    assert!(warnings.is_empty(), "{warnings:?}");
    assert!(file.dhcp4 && !file.dhcp.use_dns && !file.dhcp.use_routes && !file.dhcp.send_hostname);
    assert_eq!((file.dhcp.route_metric, file.dhcp.hostname.as_deref()), (Some(7), Some("web-1")));
}

#[test]
fn all_that_is_said_of_a_link_must_fit() {
    let eth0 = link("eth0", [2, 0, 0, 0, 0, 1], "virtio_net");
    for (text, fits) in [
        ("Name=eth0", true),
        ("Name=eth[0-9]", true),
        ("Name=!eth0", false),
        ("Name=!lo br*", true),
        ("MACAddress=02:00:00:00:00:01", true),
        ("MACAddress=02:00:00:00:00:02 0200.0000.0001", true),
        ("Name=eth0\nMACAddress=02:00:00:00:00:02", false),
        ("Driver=virtio_net\nName=*", true),
        ("Driver=e1000", false),
        ("Type=ether", true),
        ("Type=wlan", false),
        ("Name=eth0\nSSID=x", false),
        ("", false),
    ] {
        let (file, _) = parse(&format!("[Match]\n{text}\n[Network]\nDHCP=yes\n"));
        assert_eq!(file.matching.fits(&eth0), fits, "{text}");
    }
}

#[test]
fn what_is_not_done_is_said_with_its_line() {
    let (file, warnings) = parse(
        "[Match]\nName=*\n[Network]\nDHCP=maybe\nVLAN=v1\nAddress=10.0.0.300/24\n[Bridge]\nCost=1\n[Route]\n\
         Gateway=nowhere\nDestination=10.0.0.0/8\n",
    );
    assert_eq!(
        warnings,
        [
            "line 4: DHCP= wants yes or no, not `maybe`",
            "line 5: VLAN= of [Network] is not understood and not done",
            "line 6: Address= wants an address with its prefix, such as 10.0.0.2/24, not `10.0.0.300/24`",
            "line 8: [Bridge] is not understood; `Cost` is not done",
            "line 10: Gateway= wants an address, not `nowhere`",
        ]
    );
    assert!(file.addresses.is_empty() && file.routes.is_empty(), "half a route leads elsewhere");
}

#[test]
fn drop_ins_come_after_and_empty_words_forget() {
    let texts =
        ["[Match]\nName=*\n[Network]\nDNS=1.1.1.1\nDHCP=yes\n", "[Network]\nDNS=\nDNS=9.9.9.9\nDHCP=no\n"];
    let (file, warnings) = NetworkFile::parse("a.network", &texts);
    assert!(warnings.is_empty());
    assert_eq!(file.dns, ["9.9.9.9".parse::<IpAddr>().expect("an address")]);
    assert!(!file.dhcp4);
}
