//! What the engines are made to do: one file per kind.

mod build;
mod image;
mod life;
mod logs;
mod many;
mod network;
mod rest;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::figures::{Aim, Report};
use crate::images::Size;
use crate::pair::Pair;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Memory of an engine that has done nothing yet
    Idle,
    /// One container: start, exec, kill
    Life,
    /// A hundred containers at once
    Many,
    /// Building an image of ten steps
    Build,
    /// Loading and pulling a large image
    Image,
    /// Writing and reading logs
    Logs,
    /// A published port
    Network,
    /// Memory of an engine that has done all this
    Rest,
}

impl Kind {
    /// In the order in which they are measured: memory at rest comes first.
    pub(crate) const ALL: [Kind; 8] =
        [Kind::Idle, Kind::Life, Kind::Many, Kind::Build, Kind::Image, Kind::Logs, Kind::Network, Kind::Rest];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Kind::Idle => "memory at rest",
            Kind::Life => "one container",
            Kind::Many => "many containers",
            Kind::Build => "builds",
            Kind::Image => "a large image",
            Kind::Logs => "logs",
            Kind::Network => "a published port",
            Kind::Rest => "memory after the work",
        }
    }

    pub(crate) fn measure(self, pair: &mut Pair, plan: &Plan, report: &mut Report) -> Result<()> {
        match self {
            Kind::Idle => rest::measure(pair, report, "idle, Pss of all processes", Aim::AtMost(25.0)),
            Kind::Life => life::measure(pair, plan, report),
            Kind::Many => many::measure(pair, plan, report),
            Kind::Build => build::measure(pair, plan, report),
            Kind::Image => image::measure(pair, plan, report),
            Kind::Logs => logs::measure(pair, plan, report),
            Kind::Network => network::measure(pair, plan, report),
            Kind::Rest => rest::measure(pair, report, "the same after all this work", Aim::None),
        }
    }
}

/// How much of everything.
pub(crate) struct Plan {
    pub(crate) scratch: PathBuf,
    /// Rounds of short work.
    pub(crate) rounds: usize,
    /// Rounds of work that takes seconds.
    pub(crate) long_rounds: usize,
    pub(crate) uncached_builds: usize,
    pub(crate) containers: usize,
    pub(crate) image: Size,
    /// Times the file of lines.
    pub(crate) logs: usize,
    pub(crate) flow_seconds: usize,
}

impl Plan {
    pub(crate) fn new(quick: bool, scratch: &Path) -> Self {
        let pick = |quickly, fully| if quick { quickly } else { fully };
        Self {
            scratch: scratch.to_owned(),
            rounds: pick(8, 30),
            long_rounds: pick(1, 5),
            uncached_builds: pick(3, 7),
            containers: 100,
            image: Size { layers: 10, files: pick(40, 120) },
            logs: pick(5, 20),
            flow_seconds: pick(1, 2),
        }
    }
}
