//! One container at a time: create, start, wait, exec, kill.

use anyhow::{Result, bail};
use serde_json::json;

use super::Plan;
use crate::engine::Engine;
use crate::figures::{Aim, Report, Unit};
use crate::http::{Body, Client};
use crate::pair::{Pair, timed};

pub(super) fn measure(pair: &Pair, plan: &Plan, report: &mut Report) -> Result<()> {
    let [create, start, wait, all, remove] = pair.alternate_many(3, plan.rounds, run_true)?;
    let rows = [
        ("create+start+wait of true, bridge", Aim::AtMostOfElder(0.15), all),
        ("  of which create", Aim::None, create),
        ("  of which start", Aim::None, start),
        ("  of which wait", Aim::None, wait),
        ("remove after its end", Aim::None, remove),
    ];
    for (name, aim, both) in rows {
        report.add(name, Unit::Milliseconds, aim, both.elder, both.ours);
    }
    exec(pair, plan, report)?;
    let both = pair.alternate(2, plan.rounds, kill)?;
    let aim = Aim::AtMostOfElder(0.1);
    report.add("kill until wait returns", Unit::Milliseconds, aim, both.elder, both.ours);
    Ok(())
}

fn run_true(engine: &Engine) -> Result<[f64; 5]> {
    let mut client = engine.client();
    // The connection is not part of the work.
    client.call("GET", "/version", Body::Nothing)?;
    let (create, id) = timed(|| engine.create(&mut client, &["/bin/true"], json!({})))?;
    let (start, _) = timed(|| client.call("POST", &format!("/containers/{id}/start"), Body::Nothing))?;
    let (wait, code) = timed(|| engine.wait(&mut client, &id))?;
    if code != 0 {
        bail!("true ended with {code}");
    }
    let (remove, ()) = timed(|| engine.remove(&mut client, &id))?;
    Ok([create, start, wait, create + start + wait, remove])
}

fn exec(pair: &Pair, plan: &Plan, report: &mut Report) -> Result<()> {
    let mut running = Vec::new();
    for engine in pair.all() {
        running.push((engine.pid(), engine.run(&mut engine.client(), &["/bin/sleep", "3600"], json!({}))?));
    }
    let id_of = |engine: &Engine| running.iter().find(|(pid, _)| *pid == engine.pid()).map(|(_, id)| id);
    let both = pair.alternate(3, plan.rounds, |engine| {
        let Some(id) = id_of(engine) else { bail!("no container runs") };
        let mut client = engine.client();
        client.call("GET", "/version", Body::Nothing)?;
        timed(|| exec_true(engine, &mut client, id)).map(|(took, ())| took)
    })?;
    let aim = Aim::AtMostOfElder(0.2);
    report.add("exec of true, attached", Unit::Milliseconds, aim, both.elder, both.ours);
    for engine in pair.all() {
        if let Some(id) = id_of(engine) {
            engine.remove(&mut engine.client(), id)?;
        }
    }
    Ok(())
}

fn exec_true(engine: &Engine, client: &mut Client, container: &str) -> Result<()> {
    const LOOKS: usize = 10_000;
    let wanted = json!({ "Cmd": ["/bin/true"], "AttachStdout": true, "AttachStderr": true });
    let made = client.call("POST", &format!("/containers/{container}/exec"), Body::Json(&wanted))?;
    let id = made["Id"].as_str().unwrap_or_default();
    Client::hijack(
        &engine.socket(),
        &format!("/exec/{id}/start"),
        &json!({ "Detach": false, "Tty": false }),
    )?;
    for _ in 0..LOOKS {
        let state = client.call("GET", &format!("/exec/{id}/json"), Body::Nothing)?;
        if state["Running"] == false {
            return if state["ExitCode"] == 0 {
                Ok(())
            } else {
                bail!("true ended with {}", state["ExitCode"])
            };
        }
    }
    bail!("the exec session does not end")
}

fn kill(engine: &Engine) -> Result<f64> {
    let mut client = engine.client();
    let id = engine.run(&mut client, &["/bin/sleep", "3600"], json!({}))?;
    let (took, code) = timed(|| {
        client.call("POST", &format!("/containers/{id}/kill"), Body::Nothing)?;
        engine.wait(&mut client, &id)
    })?;
    if code != 137 {
        bail!("a killed program ended with {code}");
    }
    engine.remove(&mut client, &id)?;
    Ok(took)
}
