//! The network of a machine in a network namespace of its own, with a DHCP server and a router of ours
//! in another one. They need root and iproute2, and say so otherwise.

mod manager;
mod neighbour;
