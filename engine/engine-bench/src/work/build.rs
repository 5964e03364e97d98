//! A build of ten steps, eight of which run a program.

use anyhow::Result;

use super::Plan;
use crate::engine::Engine;
use crate::figures::{Aim, Report, Unit};
use crate::http::Body;
use crate::images;
use crate::pair::{Pair, timed};

const RUNS: usize = 8;

pub(super) fn measure(pair: &Pair, plan: &Plan, report: &mut Report) -> Result<()> {
    let runs: String = (0..RUNS).map(|n| format!("RUN echo {n} > /tmp/f{n}\n")).collect();
    let dockerfile = format!("FROM {}\n{runs}ENV A=1\nCMD [\"/bin/true\"]\n", images::BUSYBOX);
    let context = images::context(&dockerfile)?;
    let build = |engine: &Engine, uncached: u8| {
        let path = format!("/build?t=built:latest&rm=1&forcerm=1&nocache={uncached}&networkmode=none");
        let mut client = engine.client();
        timed(|| client.progress("POST", &path, Body::Tar(&context))).map(|(took, ())| took)
    };
    let uncached = pair.alternate(1, plan.uncached_builds, |engine| build(engine, 1))?;
    let cached = pair.alternate(2, plan.rounds, |engine| build(engine, 0))?;
    let aim = Aim::AtMostOfElder;
    report.add("build, 10 steps, no cache", Unit::Milliseconds, aim(0.2), uncached.elder, uncached.ours);
    report.add("build, 10 steps, all cached", Unit::Milliseconds, aim(0.4), cached.elder, cached.ours);
    for engine in pair.all() {
        engine.client().call("DELETE", "/images/built:latest?force=1", Body::Nothing)?;
    }
    Ok(())
}
