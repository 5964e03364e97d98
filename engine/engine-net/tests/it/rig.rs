//! A host of the test's own: a thread in new namespaces, a bridge, and a world
//! outside at 192.0.2.9.
#![allow(unsafe_code, reason = "unshare has no std wrapper")]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use engine_net::model::{Endpoint, Network, Pool};
use engine_net::{Netns, bridge, mac_of};

pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const WORLD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const PATIENCE: Duration = Duration::from_millis(700);

pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) network: Network,
    pub(crate) world: Host,
    pools: Mutex<std::collections::BTreeMap<String, Pool>>,
}

/// Something with a network namespace.
pub(crate) struct Host {
    pub(crate) namespace: Arc<Netns>,
    pub(crate) address: Ipv4Addr,
}

pub(crate) fn rig() -> Option<Rig> {
    // SAFETY: moves this test's thread only; the test runs on this thread alone.
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
    if unshared != 0 {
        must_run::skip("needs root to make namespaces");
        return None;
    }
    run("mount", &["--make-rprivate", "/"]);
    run("ip", &["link", "set", "lo", "up"]);
    let dir = tempfile::tempdir().unwrap();
    let world = Netns::create(&dir.path().join("world")).unwrap();
    let path = dir.path().join("world");
    run("ip", &["link", "add", "up0", "type", "veth", "peer", "name", "eth0"]);
    let holder = hold(&world);
    run("ip", &["link", "set", "eth0", "netns", &holder.to_string()]);
    run("ip", &["addr", "add", "192.0.2.1/24", "dev", "up0"]);
    run("ip", &["link", "set", "up0", "up"]);
    let namespace = format!("--net={}", path.display());
    run("nsenter", &[&namespace, "ip", "addr", "add", "192.0.2.9/24", "dev", "eth0"]);
    run("nsenter", &[&namespace, "ip", "link", "set", "eth0", "up"]);
    run("nsenter", &[&namespace, "ip", "route", "add", "10.0.0.0/8", "via", "192.0.2.1"]);
    bridge::enable_forwarding().unwrap();
    let world = Host { namespace: Arc::new(world), address: WORLD };
    let mut rig = Rig { dir, network: Network::default(), world, pools: Mutex::default() };
    rig.network = rig.network("rmbr0", "10.123.0.0/16");
    Some(rig)
}

/// A process in the namespace, to move an interface to; ends by itself.
fn hold(namespace: &Netns) -> u32 {
    let arg = format!("--net={}", namespace.path().display());
    let mut command = Command::new("nsenter");
    command.args([&arg, "sleep", "1"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let id = child.id();
    std::thread::spawn(move || child.wait());
    std::thread::sleep(Duration::from_millis(100));
    id
}

impl Rig {
    pub(crate) fn network(&self, name: &str, subnet: &str) -> Network {
        let network = Network {
            id: name.into(),
            name: name.into(),
            bridge: name.into(),
            pool: Pool::new(subnet.parse().unwrap(), None, None),
            mtu: 1500,
            icc: true,
            masquerade: true,
            ..Network::default()
        };
        bridge::ensure(&network).unwrap();
        bridge::ensure(&network).expect("again is no error");
        network
    }

    pub(crate) fn endpoint(&self, network: &Network, id: &str) -> Endpoint {
        let mut pools = self.pools.lock().unwrap();
        let pool = pools.entry(network.id.clone()).or_insert_with(|| network.pool.clone());
        let address = pool.allocate(id, None).unwrap();
        let last = address.octets();
        Endpoint {
            id: id.into(),
            network: network.id.clone(),
            container: id.into(),
            address: Some(address),
            prefix: network.pool.subnet.prefix(),
            gateway: network.pool.gateway,
            mac: mac_of(address),
            host_interface: format!("v{}.{}", last[1], u16::from(last[2]) * 256 + u16::from(last[3])),
            interface: "eth0".into(),
        }
    }

    pub(crate) fn container(&self, id: &str) -> Host {
        self.container_in(&self.network, id)
    }

    pub(crate) fn container_in(&self, network: &Network, id: &str) -> Host {
        let namespace = Netns::create(&self.dir.path().join(id)).unwrap();
        let endpoint = self.endpoint(network, id);
        namespace.connect(&endpoint, network, true).unwrap();
        Host { namespace: Arc::new(namespace), address: endpoint.address.unwrap() }
    }
}

impl Host {
    /// Tells every client on this port its address.
    pub(crate) fn serve(&self, port: u16) {
        let listener = self.namespace.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap();
        std::thread::spawn(move || {
            while let Ok((mut client, peer)) = listener.accept() {
                let _ = client.write_all(peer.ip().to_string().as_bytes());
            }
        });
    }

    pub(crate) fn ask(&self, address: Ipv4Addr, port: u16) -> io::Result<String> {
        self.namespace.run(|| ask(address, port))
    }
}

/// The address under which the server sees us.
pub(crate) fn ask(address: Ipv4Addr, port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((address, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

pub(crate) fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().unwrap();
    assert!(status.success(), "{program} {args:?}");
}

pub(crate) fn interfaces() -> usize {
    let output = Command::new("ip").args(["-o", "link"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().count()
}
