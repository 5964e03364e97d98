//! Which port a frame leaves by: learned from where its destination last spoke.

use std::collections::BTreeMap;

use crate::frame::{Mac, addresses};

/// One connection of the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u64);

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// To one port.
    One(Port),
    /// To every port but the one it came from.
    Flood,
    /// Nowhere: it is no frame, or its destination is behind the port it came from.
    Drop,
}

/// Addresses that one table holds; a guest that invents more only makes the switch flood.
const CAPACITY: usize = 4096;

/// What the switch learned.
#[derive(Debug, Default)]
pub struct Forwarding {
    table: BTreeMap<Mac, Port>,
}

impl Forwarding {
    /// Decides about a frame that came in by `from`, and learns from it.
    pub fn frame(&mut self, from: Port, frame: &[u8]) -> Egress {
        let Some((destination, source)) = addresses(frame) else { return Egress::Drop };
        if !source.is_group() && (self.table.len() < CAPACITY || self.table.contains_key(&source)) {
            self.table.insert(source, from);
        }
        match self.table.get(&destination) {
            _ if destination.is_group() => Egress::Flood,
            Some(port) if *port == from => Egress::Drop,
            Some(port) => Egress::One(*port),
            None => Egress::Flood,
        }
    }

    /// Forgets everything behind a port that is gone.
    pub fn gone(&mut self, port: Port) {
        self.table.retain(|_, behind| *behind != port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(to: u8, from: u8) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[5] = to;
        frame[11] = from;
        frame
    }

    #[test]
    fn a_switch_learns_from_who_speaks_and_forgets_who_leaves() {
        let (a, b) = (Port(1), Port(2));
        let mut switch = Forwarding::default();
        assert_eq!(switch.frame(a, &frame(20, 10)), Egress::Flood);
        assert_eq!(switch.frame(b, &frame(10, 20)), Egress::One(a));
        assert_eq!(switch.frame(a, &frame(20, 10)), Egress::One(b));
        assert_eq!(switch.frame(b, &frame(20, 21)), Egress::Drop, "it is on that side already");
        switch.gone(b);
        assert_eq!(switch.frame(a, &frame(20, 10)), Egress::Flood);
    }

    #[test]
    fn broadcasts_go_to_all_and_scraps_to_nobody() {
        let mut switch = Forwarding::default();
        let mut broadcast = frame(0, 10);
        broadcast[..6].fill(0xff);
        assert_eq!(switch.frame(Port(1), &broadcast), Egress::Flood);
        assert_eq!(switch.frame(Port(1), &broadcast[..13]), Egress::Drop);
    }

    #[test]
    fn a_guest_that_invents_addresses_does_not_fill_the_memory() {
        let mut switch = Forwarding::default();
        for n in 0..20_000_u32 {
            let mut frame = frame(1, 0);
            frame[8..12].copy_from_slice(&n.to_be_bytes());
            switch.frame(Port(1), &frame);
        }
        assert!(switch.table.len() <= CAPACITY);
    }
}
