//! The other end of the cable: a network namespace with a DHCP server and a router, and the namespace
//! of the machine itself.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::sockopt::{BindToDevice, Broadcast, Ipv6MulticastHops, ReuseAddr};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind, sendto,
    setsockopt, socket,
};

/// What a test can tell the other end, and learn from it.
#[derive(Clone, Default)]
pub(crate) struct Neighbour {
    /// The DHCP server says nothing.
    pub(crate) mute: Arc<AtomicBool>,
    /// The requests so far, each as its options.
    pub(crate) asked: Arc<Mutex<Vec<Vec<(u8, Vec<u8>)>>>>,
    ended: Arc<AtomicBool>,
}

/// Address that the server gives away.
pub(crate) const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 42);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct EndOnDrop(Arc<AtomicBool>);

/// Runs `test` in a new network namespace whose `veth0` leads to a neighbour. False where that cannot be.
pub(crate) fn with_neighbour(test: impl FnOnce(&Neighbour) + Send + 'static) -> bool {
    let able = nix::unistd::geteuid().is_root() && Command::new("ip").arg("-V").output().is_ok();
    if !able {
        must_run::skip("needs root and iproute2");
        return false;
    }
    let neighbour = Neighbour::default();
    let theirs = neighbour.clone();
    // Namespaces belong to threads: each end has one.
    std::thread::spawn(move || {
        let _end = EndOnDrop(theirs.ended.clone());
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            return must_run::skip("no network namespace can be made");
        }
        ip("link add veth0 type veth peer name veth1");
        let (tell, told) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        let server = theirs.clone();
        let other = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("the first one could be made");
            tell.send(nix::unistd::gettid()).expect("somebody waits");
            gone.recv().expect("the cable is laid");
            server.serve();
        });
        let tid = told.recv().expect("the other end is there");
        ip(&format!("link set veth1 netns {tid}"));
        go.send(()).expect("somebody waits");
        test(&theirs);
        theirs.ended.store(true, Ordering::SeqCst);
        other.join().expect("the other end ends");
    })
    .join()
    .expect("the test passes");
    true
}

/// Runs iproute2 in the namespace of this thread.
pub(crate) fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().expect("ip runs");
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Neighbour {
    pub(crate) fn requests(&self) -> Vec<Vec<(u8, Vec<u8>)>> {
        self.asked.lock().expect("no panic").clone()
    }

    fn serve(&self) {
        ip("link set lo up");
        ip(&format!("addr add {SERVER}/24 dev veth1"));
        ip("addr add fd00:77::1/64 dev veth1 nodad");
        ip("link set veth1 up");
        let fd =
            socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        setsockopt(&fd, ReuseAddr, &true).expect("set");
        setsockopt(&fd, Broadcast, &true).expect("set");
        setsockopt(&fd, BindToDevice, &"veth1".into()).expect("set");
        bind(fd.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 67)).expect("bound");
        let socket = UdpSocket::from(fd);
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
        let mut packet = [0; 2048];
        let mut turns = 0u32;
        while !self.ended.load(Ordering::SeqCst) {
            if turns.is_multiple_of(5) {
                advertise();
            }
            turns += 1;
            let Ok(length) = socket.recv(&mut packet) else { continue };
            let options = options(&packet[240..length]);
            let kind = options.iter().find(|(code, _)| *code == 53).map_or(0, |(_, value)| value[0]);
            self.asked.lock().expect("no panic").push(options);
            if self.mute.load(Ordering::SeqCst) {
                continue;
            }
            let answer = reply(&packet[..240], if kind == 1 { 2 } else { 5 });
            let _ = socket.send_to(&answer, (Ipv4Addr::BROADCAST, 68));
        }
    }
}

fn options(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [code, length, rest @ ..] = bytes {
        if *code == 255 || rest.len() < usize::from(*length) {
            break;
        }
        found.push((*code, rest[..usize::from(*length)].to_vec()));
        bytes = &rest[usize::from(*length)..];
    }
    found
}

fn reply(request: &[u8], kind: u8) -> Vec<u8> {
    let mut packet = request.to_vec();
    packet[0] = 2;
    packet[16..20].copy_from_slice(&GIVEN.octets());
    for (code, value) in [
        (53, vec![kind]),
        (54, SERVER.octets().to_vec()),
        (51, 3600u32.to_be_bytes().to_vec()),
        (1, vec![255, 255, 255, 0]),
        (3, SERVER.octets().to_vec()),
        (6, vec![10, 77, 0, 53]),
        (15, b"lan.test".to_vec()),
        (12, b"given-name".to_vec()),
        (42, vec![10, 77, 0, 123]),
    ] {
        packet.push(code);
        packet.push(u8::try_from(value.len()).expect("short"));
        packet.extend(value);
    }
    packet.push(255);
    packet
}

/// Tells everyone on the cable about fd00:77::/64 and a name server in it.
fn advertise() {
    let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend([3, 4, 64, 0xC0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0]);
    message.extend("fd00:77::".parse::<std::net::Ipv6Addr>().expect("an address").octets());
    message.extend([25, 3, 0, 0, 0, 0, 14, 16]);
    message.extend("fd00:77::53".parse::<std::net::Ipv6Addr>().expect("an address").octets());
    let flags = SockFlag::SOCK_CLOEXEC;
    let Ok(fd) = socket(AddressFamily::Inet6, SockType::Raw, flags, SockProtocol::IcmpV6) else { return };
    let ready = setsockopt(&fd, BindToDevice, &"veth1".into())
        .and_then(|()| setsockopt(&fd, Ipv6MulticastHops, &255));
    if ready.is_ok() {
        let everyone = std::net::SocketAddrV6::new("ff02::1".parse().expect("an address"), 0, 0, 0);
        // A link that is still being checked for doubles cannot send; there is a next time.
        let _ = sendto(fd.as_raw_fd(), &message, &SockaddrIn6::from(everyone), MsgFlags::empty());
    }
}
