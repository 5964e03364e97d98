//! Why a unit is where it is, or nowhere: a sentence a person can act on.

use std::collections::BTreeMap;
use std::fmt;

use crate::MachineId;

/// What keeps a unit from a machine, or from all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// The machine is being drained.
    Draining,
    /// `MachineID` names another.
    OtherMachine,
    /// The machine's metadata lacks `key=value|value`.
    Metadata(String),
    /// A `MachineOf` peer runs elsewhere.
    PeerElsewhere(String),
    /// One of the two units there does not want the other.
    Conflict(String),
    /// A unit there replaces this one.
    ReplacedBy(String),
    /// Not enough memory is free.
    Memory,
    /// Not enough CPU is free.
    Cpu,
    /// A `MachineOf` peer has no machine yet (no single machine is at fault).
    PeerUnscheduled(String),
    /// `MachineID` names a machine that is not there.
    MachineGone(String),
}

impl Obstacle {
    /// What `count` machines do, in words.
    fn sentence(&self, count: usize) -> String {
        let s = if count == 1 { "s" } else { "" };
        match self {
            Self::Draining => format!("{count} {} draining", if count == 1 { "is" } else { "are" }),
            Self::OtherMachine => {
                format!("{count} {} not the one it names", if count == 1 { "is" } else { "are" })
            }
            Self::Metadata(wanted) => format!("{count} lack{s} {wanted}"),
            Self::PeerElsewhere(peer) => {
                format!("{count} do{} not run {peer}", if count == 1 { "es" } else { "" })
            }
            Self::Conflict(unit) => format!("{count} conflict{s} with {unit}"),
            Self::ReplacedBy(unit) => format!("{count} run{s} {unit}, which replaces it"),
            Self::Memory => format!("{count} lack{s} free memory"),
            Self::Cpu => format!("{count} lack{s} free CPU"),
            Self::PeerUnscheduled(peer) => format!("its peer {peer} has no machine"),
            Self::MachineGone(id) => format!("machine {id} is not in the cluster"),
        }
    }
}

impl fmt::Display for Obstacle {
    /// As said of the one machine that a unit is on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = self.sentence(1);
        match sentence.strip_prefix("1 ") {
            Some(rest) => write!(f, "its machine {rest}"),
            None => f.write_str(&sentence),
        }
    }
}

/// The reasons behind a decision, counted over the machines that were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The machine that was chosen.
    pub machine: Option<MachineId>,
    /// How many machines there are.
    pub machines: usize,
    /// How many of them would do.
    pub eligible: usize,
    /// What kept the others out, with the number of machines for each.
    pub obstacles: BTreeMap<Obstacle, usize>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.machine {
            Some(machine) => write!(f, "scheduled on {machine}: ")?,
            None => f.write_str("unschedulable: ")?,
        }
        write!(f, "{} machine{}", self.machines, if self.machines == 1 { "" } else { "s" })?;
        if self.eligible > 0 {
            write!(f, ", {} eligible", self.eligible)?;
        }
        let mut obstacles: Vec<_> = self.obstacles.iter().collect();
        obstacles.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for (index, (obstacle, count)) in obstacles.into_iter().enumerate() {
            f.write_str(if index == 0 { ": " } else { ", " })?;
            f.write_str(&obstacle.sentence(*count))?;
        }
        Ok(())
    }
}
