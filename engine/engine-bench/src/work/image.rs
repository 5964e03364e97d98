//! A large image of ten layers: loaded from an archive, pushed once, pulled from a registry on loopback.

use std::fs::File;

use anyhow::{Context as _, Result};

use super::Plan;
use crate::engine::Engine;
use crate::figures::{Aim, Report, Unit};
use crate::http::Body;
use crate::images;
use crate::pair::{Pair, timed};
use crate::registry::{self, Registry};

pub(super) fn measure(pair: &Pair, plan: &Plan, report: &mut Report) -> Result<()> {
    let name = format!("{}/synthetic", registry::ADDRESS);
    let archive = plan.scratch.join("synthetic.tar");
    let bytes = images::synthetic(&archive, &format!("{name}:latest"), plan.image)?;
    let megabytes = bytes / 1_000_000;
    let folder = plan.scratch.join("registry");
    let registries = pair.all().map(|engine| Registry::start(engine, &folder)).collect::<Result<Vec<_>>>()?;
    let load = pair.alternate(0, plan.long_rounds, |engine| {
        forget(engine, &name);
        let mut file = File::open(&archive)?;
        let mut client = engine.client();
        let body = Body::Stream(&mut file, bytes);
        timed(|| client.progress("POST", "/images/load?quiet=1", body)).map(|(took, ())| took)
    })?;
    // One pushes for both, so that both pull the same.
    let first = pair.all().next().context("no engine")?;
    push(first, &name)?;
    let pull = pair.alternate(0, plan.long_rounds, |engine| {
        forget(engine, &name);
        let mut client = engine.client();
        let path = format!("/images/create?fromImage={name}&tag=latest");
        timed(|| client.progress("POST", &path, Body::Nothing)).map(|(took, ())| took)
    })?;
    let aim = Aim::AtMostOfElder(0.7);
    report.add(&format!("load, {megabytes} MB, 10 layers"), Unit::Milliseconds, aim, load.elder, load.ours);
    report.add(&format!("pull, {megabytes} MB, 10 layers"), Unit::Milliseconds, aim, pull.elder, pull.ours);
    for engine in pair.all() {
        forget(engine, &name);
    }
    drop(registries);
    std::fs::remove_file(archive)?;
    Ok(())
}

fn push(engine: &Engine, name: &str) -> Result<()> {
    engine.client().progress("POST", &format!("/images/{name}/push?tag=latest"), Body::Nothing)
}

/// Removes the image, if it is there, and lets the disk come to rest.
fn forget(engine: &Engine, name: &str) {
    // It is not there in the first round.
    let _ = engine.client().call("DELETE", &format!("/images/{name}:latest?force=1"), Body::Nothing);
    nix::unistd::sync();
}
