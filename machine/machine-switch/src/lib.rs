//! A rootless Ethernet between the machines of a cluster: a learning switch on a Unix socket.
//!
//! Each QEMU connects with `-netdev stream`; a frame on that stream is its length as four bytes, the
//! highest first, then its bytes. [`Forwarding`] decides where a frame goes and knows no socket;
//! [`serve`] moves the bytes. On the same wire sits a small DHCP server ([`Leases`]), so that a guest
//! needs no settings to get an address of the cluster's network. It gives no route and no name
//! server: the way out is each machine's other interface.
//!
//! Deliberately not here: root, other networks of this workstation, TCP/IP beyond DHCP.

mod dhcp;
mod forwarding;
mod frame;
mod lease;
mod serve;

pub use forwarding::{Egress, Forwarding, Port};
pub use frame::{MAX_FRAME, Mac};
pub use lease::{Leases, Network};
pub use serve::{Options, ServeError, serve};
