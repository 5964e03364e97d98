//! json-file logs: as fast as a program can write them, and read back whole.

use anyhow::{Result, bail};
use serde_json::json;

use super::Plan;
use crate::engine::Engine;
use crate::figures::{Aim, Report, Unit};
use crate::http::Body;
use crate::images::{BYTES_OF_LINES, LINES};
use crate::pair::{Pair, timed};

pub(super) fn measure(pair: &Pair, plan: &Plan, report: &mut Report) -> Result<()> {
    let rounds = plan.long_rounds.min(3);
    let [write, read] = pair.alternate_many(0, rounds, |engine| round(engine, plan.logs))?;
    let megabytes = plan.logs * BYTES_OF_LINES / 1_000_000;
    let unit = Unit::MegabytesPerSecond;
    let name = |what: &str| format!("json-file, {megabytes} MB {what}");
    report.add(&name("written"), unit, Aim::TimesElder(3.0), write.elder, write.ours);
    report.add(&name("read"), unit, Aim::TimesElder(8.0), read.elder, read.ours);
    Ok(())
}

fn round(engine: &Engine, times: usize) -> Result<[f64; 2]> {
    let mut command = vec!["/bin/cat"];
    command.extend(std::iter::repeat_n(LINES, times));
    let mut client = engine.client();
    let log = json!({ "Type": "json-file", "Config": {} });
    let settings = json!({ "HostConfig": { "NetworkMode": "none", "LogConfig": log } });
    let id = engine.create(&mut client, &command, settings)?;
    nix::unistd::sync();
    let (write, code) = timed(|| {
        client.call("POST", &format!("/containers/{id}/start"), Body::Nothing)?;
        engine.wait(&mut client, &id)
    })?;
    if code != 0 {
        bail!("cat ended with {code}");
    }
    let written = times * BYTES_OF_LINES;
    let mut found = 0;
    let path = format!("/containers/{id}/logs?stdout=1");
    let (read, ()) = timed(|| client.read("GET", &path, Body::Nothing, &mut |piece| found += piece.len()))?;
    // Each line has a head of eight bytes.
    let expected = written + written / 100 * 8;
    if found != expected {
        bail!("the log has {found} bytes instead of {expected}");
    }
    engine.remove(&mut client, &id)?;
    let speed = |took: f64| written as f64 / 1e6 / (took / 1000.0);
    Ok([speed(write), speed(read)])
}
