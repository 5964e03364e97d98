//! A container's network namespace, held by a file.
//!
//! Made before the container, so that its interfaces are ready when its program
//! starts, and found again by path after the engine was away. Whatever must
//! happen inside happens on a thread of its own, since a namespace belongs to a
//! thread.
#![allow(unsafe_code, reason = "setns and mount")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::error::NetError;
use crate::mac::parse_mac;
use crate::model::{Endpoint, Network};
use crate::netlink::Socket;
use crate::route;

/// An open namespace.
#[derive(Debug)]
pub struct Netns {
    path: PathBuf,
    file: File,
    /// A route socket that lives in the namespace.
    inside: Mutex<Socket>,
}

impl Netns {
    /// Makes a new namespace, loopback up, IPv6 off, pinned at `path`.
    pub fn create(path: &Path) -> Result<Self, NetError> {
        let at = |source| NetError::Namespace { path: path.to_owned(), source };
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(at)?;
        }
        File::create_new(path).or_else(|error| replace_stale(path, error)).map_err(at)?;
        let made = on_own_thread(|| {
            // SAFETY: this thread alone leaves its namespace, and ends soon.
            check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
            let file = File::open("/proc/thread-self/ns/net")?;
            bind_mount(Path::new("/proc/thread-self/ns/net"), path)?;
            // Not every kernel has IPv6 to turn off.
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            Ok((file, Socket::open(libc::NETLINK_ROUTE)?))
        });
        match made {
            Ok((file, mut socket)) => {
                socket.batch(&mut [route::set_up("lo")])?;
                Ok(Self { path: path.to_owned(), file, inside: Mutex::new(socket) })
            }
            Err(error) => {
                let _ = Self::remove(path);
                Err(at(error))
            }
        }
    }

    /// A namespace that exists: a pinned one, or `/proc/PID/ns/net`.
    pub fn open(path: &Path) -> Result<Self, NetError> {
        let at = |source| NetError::Namespace { path: path.to_owned(), source };
        let file = File::open(path).map_err(at)?;
        let socket = inside(&file, || Socket::open(libc::NETLINK_ROUTE)).map_err(at)?;
        Ok(Self { path: path.to_owned(), file, inside: Mutex::new(socket) })
    }

    /// Unpins the namespace; with its last user its interfaces go, in the
    /// background of the kernel. Never delete a veth by hand: that takes long.
    pub fn remove(path: &Path) -> io::Result<()> {
        let text = c_path(path)?;
        // SAFETY: text outlives the call.
        unsafe { libc::umount2(text.as_ptr(), libc::MNT_DETACH) };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the container its interface in a network: one message on the
    /// host's side, one batch inside.
    pub fn connect(
        &self,
        endpoint: &Endpoint,
        network: &Network,
        default_route: bool,
    ) -> Result<(), NetError> {
        let mut host = route::open()?;
        let bridge = route::index_of_name(&network.bridge)
            .ok_or_else(|| NetError::NoBridge(network.bridge.clone()))?;
        let mac = parse_mac(&endpoint.mac).ok_or_else(|| NetError::BadMac(endpoint.mac.clone()))?;
        let veth = route::Veth {
            name: &endpoint.host_interface,
            bridge,
            peer: &endpoint.interface,
            peer_mac: mac,
            peer_namespace: self.file.as_fd(),
            mtu: network.mtu,
        };
        let mut batch = vec![route::add_veth(&veth)];
        if bridge_packets_are_filtered() {
            batch.push(route::set_hairpin(&endpoint.host_interface));
        }
        host.batch(&mut batch)?;
        self.configure(endpoint, default_route).inspect_err(|_| {
            let _ = host.batch(&mut [route::delete_link(&endpoint.host_interface)]);
        })
    }

    fn configure(&self, endpoint: &Endpoint, default_route: bool) -> Result<(), NetError> {
        let mut inside = self.lock();
        let index = route::index_of(&mut inside, &endpoint.interface)?
            .ok_or_else(|| NetError::NoInterface(endpoint.interface.clone()))?;
        let mut batch = Vec::with_capacity(3);
        if let Some(address) = endpoint.address {
            batch.push(route::add_address(index, address, endpoint.prefix));
        }
        batch.push(route::set_up(&endpoint.interface));
        if default_route && let Some(gateway) = endpoint.gateway {
            batch.push(route::add_default_route(gateway));
        }
        inside.batch(&mut batch)?;
        Ok(())
    }

    /// Takes the interface of a network away. Takes the kernel some 30 ms: only
    /// for `network disconnect`, never when a container ends.
    pub fn disconnect(&self, endpoint: &Endpoint) -> Result<(), NetError> {
        match self.lock().batch(&mut [route::delete_link(&endpoint.interface)]) {
            Err(error) if error.errno() == Some(libc::ENODEV) => Ok(()),
            other => other.map_err(Into::into),
        }
    }

    /// Makes `gateway` the default route, replacing another; `None` removes it.
    pub fn set_default_route(&self, gateway: Option<Ipv4Addr>) -> Result<(), NetError> {
        let mut inside = self.lock();
        match inside.batch(&mut [route::delete_default_route()]) {
            Err(error) if error.errno() != Some(libc::ESRCH) => return Err(error.into()),
            _ => {}
        }
        if let Some(gateway) = gateway {
            inside.batch(&mut [route::add_default_route(gateway)])?;
        }
        Ok(())
    }

    /// The first free `ethN`.
    pub fn free_interface(&self) -> Result<String, NetError> {
        let mut inside = self.lock();
        for number in 0..1000 {
            let name = format!("eth{number}");
            if route::index_of(&mut inside, &name)?.is_none() {
                return Ok(name);
            }
        }
        Err(NetError::NoInterface("eth0 to eth999 are all taken".into()))
    }

    /// Sockets bound inside: UDP and TCP at the same address.
    pub fn bind_dns(&self, address: (Ipv4Addr, u16)) -> io::Result<(UdpSocket, TcpListener)> {
        inside(&self.file, || {
            let udp = UdpSocket::bind(address)?;
            let tcp = TcpListener::bind(address)?;
            udp.set_nonblocking(true)?;
            tcp.set_nonblocking(true)?;
            Ok((udp, tcp))
        })
    }

    /// Runs `work` on a thread inside the namespace and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        inside(&self.file, work)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Socket> {
        self.inside.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn bridge_packets_are_filtered() -> bool {
    std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables")
        .is_ok_and(|text| text.trim() == "1")
}

fn replace_stale(path: &Path, error: io::Error) -> io::Result<File> {
    if error.kind() != io::ErrorKind::AlreadyExists {
        return Err(error);
    }
    Netns::remove(path)?;
    File::create_new(path)
}

fn inside<T: Send>(namespace: &File, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    on_own_thread(|| {
        // SAFETY: this thread alone changes its namespace, and ends soon.
        check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })?;
        work()
    })
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).stack_size(256 * 1024);
        match thread.spawn_scoped(scope, work)?.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn bind_mount(source: &Path, target: &Path) -> io::Result<()> {
    let (source, target) = (c_path(source)?, c_path(target)?);
    // SAFETY: both paths outlive the call.
    check(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), std::ptr::null(), libc::MS_BIND, std::ptr::null())
    })
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
