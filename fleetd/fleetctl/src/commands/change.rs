//! `submit`, `load`, `start`, `stop`, `unload`, `destroy`, `restart`: wishes, and waiting for them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fleet_api::Unit;
use fleet_unit::TargetState;

use crate::cli::{Blocking, SubmittingUnits, Units};
use crate::client::Client;
use crate::failure::Failure;
use crate::table::short;
use crate::unit_args::{is_global, submitted, unit_name};

const LOOK_EACH: Duration = Duration::from_millis(200);
/// What one of fleet's attempts lasts; here it is looked oftener.
const ATTEMPT: Duration = Duration::from_millis(500);
/// A start that waits longer tells why.
const TELL_AFTER: Duration = Duration::from_secs(2);

pub(crate) async fn submit(client: &Client, args: &SubmittingUnits) -> Result<u8, Failure> {
    refuse_signing(args)?;
    for arg in given(&args.units) {
        created(submitted(client, arg, replaceable(args, TargetState::Inactive)).await)?;
    }
    Ok(0)
}

pub(crate) async fn load(client: &Client, args: &SubmittingUnits) -> Result<u8, Failure> {
    submit_and_wish(client, args, TargetState::Loaded).await
}

pub(crate) async fn start(client: &Client, args: &SubmittingUnits) -> Result<u8, Failure> {
    submit_and_wish(client, args, TargetState::Launched).await
}

/// In fleet's words, which scripts look for.
fn created<T>(done: Result<T, Failure>) -> Result<T, Failure> {
    done.map_err(|failure| match failure {
        Failure::Usage(reason) => Failure::Plain(format!("Error creating units: {reason}")),
        Failure::UnitFile { .. } | Failure::Read { .. } => {
            Failure::Plain(format!("Error creating units: {failure}"))
        }
        other => other,
    })
}

async fn submit_and_wish(
    client: &Client,
    args: &SubmittingUnits,
    target: TargetState,
) -> Result<u8, Failure> {
    refuse_signing(args)?;
    let mut units = Vec::new();
    for arg in given(&args.units) {
        let Some(unit) = created(submitted(client, arg, replaceable(args, target)).await)? else { continue };
        wish(client, &unit, target).await?;
        units.push(unit);
    }
    let verb = if target == TargetState::Launched { "start" } else { "load" };
    wait_for_all(client, &units, target, verb, &args.blocking).await
}

/// As fleet refuses it, since it stopped to sign.
fn refuse_signing(args: &SubmittingUnits) -> Result<(), Failure> {
    if args.sign {
        return Err(Failure::Misused(
            "WARNING: The signed/verified units feature is DEPRECATED and cannot be used.".into(),
        ));
    }
    Ok(())
}

/// `--replace` does not carry a unit over from a later state than the command's own.
fn replaceable(args: &SubmittingUnits, target: TargetState) -> Option<&'static [TargetState]> {
    let states: &[TargetState] = match target {
        TargetState::Inactive => &[TargetState::Inactive],
        TargetState::Loaded => &[TargetState::Inactive, TargetState::Loaded],
        TargetState::Launched => &[TargetState::Inactive, TargetState::Loaded, TargetState::Launched],
    };
    args.replace.then_some(states)
}

pub(crate) async fn stop(client: &Client, args: &Units) -> Result<u8, Failure> {
    let mut units = Vec::new();
    let Some(found) = found(client, &args.units).await? else { return Ok(0) };
    for unit in found {
        if !is_global(&unit) && unit.desired_state == TargetState::Inactive.as_str() {
            eprintln!("Unable to stop unit {} in state inactive", unit.name);
            return Ok(1);
        }
        // What is not launched need not be stopped, and must not be loaded by that.
        if unit.desired_state == TargetState::Launched.as_str() {
            wish(client, &unit, TargetState::Loaded).await?;
            units.push(unit);
        }
    }
    let code = wait_for_all(client, &units, TargetState::Loaded, "stop", &args.blocking).await?;
    let stopped: Vec<&str> =
        units.iter().filter(|unit| !is_global(unit)).map(|unit| unit.name.as_str()).collect();
    if code != 0 {
        eprintln!("Failed to stop units [{}]. exit == {code}.", stopped.join(" "));
    } else if !stopped.is_empty() && !args.blocking.no_block {
        eprintln!("Successfully stopped units [{}].", stopped.join(" "));
    }
    Ok(code)
}

pub(crate) async fn unload(client: &Client, args: &Units) -> Result<u8, Failure> {
    let mut units = Vec::new();
    let Some(found) = found(client, &args.units).await? else { return Ok(0) };
    for unit in found {
        wish(client, &unit, TargetState::Inactive).await?;
        units.push(unit);
    }
    wait_for_all(client, &units, TargetState::Inactive, "unload", &args.blocking).await
}

pub(crate) async fn restart(client: &Client, args: &Units) -> Result<u8, Failure> {
    let Some(found) = found(client, &args.units).await? else { return Ok(0) };
    for unit in found {
        if !is_global(&unit) && unit.desired_state == TargetState::Inactive.as_str() {
            eprintln!("Unable to restart unit {} in state inactive", unit.name);
            continue;
        }
        let one = std::slice::from_ref(&unit);
        for target in [TargetState::Loaded, TargetState::Launched] {
            // One that is only loaded has nothing to stop.
            if target == TargetState::Loaded && unit.desired_state == target.as_str() {
                continue;
            }
            wish(client, &unit, target).await?;
            // Whatever the flags say: without this wait, the stop would never happen.
            if target == TargetState::Loaded && !is_global(&unit) {
                let patient = Blocking { no_block: false, ..args.blocking };
                let code = wait_for_all(client, one, target, "stop", &patient).await?;
                if code != 0 {
                    return Ok(code);
                }
            }
        }
        let code = wait_for_all(client, one, TargetState::Launched, "start", &args.blocking).await?;
        if code != 0 {
            return Ok(code);
        }
    }
    Ok(0)
}

pub(crate) async fn destroy(client: &Client, args: &Units) -> Result<u8, Failure> {
    let Some(found) = found(client, &args.units).await? else { return Ok(0) };
    let mut code = 0;
    for unit in found {
        match client.delete_unit(&unit.name).await {
            Ok(()) => {
                if args.blocking.no_block || is_gone(client, &unit.name, &args.blocking).await? {
                    say!("Destroyed {}", unit.name);
                } else {
                    eprintln!("Error destroying units: {} still stops on its machine", unit.name);
                    code = 1;
                }
            }
            // Somebody else was faster; it is gone, as was wished.
            Err(Failure::Api { code: 404, .. }) => {}
            Err(failure @ Failure::Api { .. }) => {
                eprintln!("Error destroying units: {failure}");
                code = 1;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(code)
}

/// Those of the named units that there are; nothing when there is nothing to do. As in fleet, a name that
/// the cluster does not know is no failure: what was wished of it is so already.
async fn found(client: &Client, args: &[String]) -> Result<Option<Vec<Unit>>, Failure> {
    let mut units = Vec::new();
    for arg in given(args) {
        let name = unit_name(arg)?;
        match client.unit(name.as_str()).await? {
            Some(unit) => units.push(unit),
            None if args.len() > 1 => eprintln!("Unit {name} not found in registry"),
            None => {}
        }
    }
    if units.is_empty() {
        if !args.is_empty() {
            eprintln!("Units not found in registry");
        }
        return Ok(None);
    }
    Ok(Some(units))
}

fn given(units: &[String]) -> &[String] {
    if units.is_empty() {
        eprintln!("No units given");
    }
    units
}

async fn wish(client: &Client, unit: &Unit, target: TargetState) -> Result<(), Failure> {
    let wish = Unit { name: unit.name.clone(), desired_state: target.to_string(), ..Unit::default() };
    client.put_unit(&wish).await
}

/// Waits for all at once; one that does not get there keeps nobody from hearing of the others.
async fn wait_for_all(
    client: &Client,
    units: &[Unit],
    target: TargetState,
    verb: &str,
    blocking: &Blocking,
) -> Result<u8, Failure> {
    let mut awaited = Vec::new();
    for unit in units {
        if is_global(unit) {
            say!("Triggered global unit {} {verb}", unit.name);
        } else if blocking.no_block {
            say!("Triggered unit {} {verb}", unit.name);
        } else {
            awaited.push(unit.name.as_str());
        }
    }
    let began = Instant::now();
    let mut told = BTreeSet::new();
    loop {
        let mut still = Vec::new();
        for name in awaited {
            let unit = client.unit(name).await?.ok_or_else(|| Failure::NoUnit(name.to_owned()))?;
            if unit.current_state == target.as_str() {
                report(client, &unit, target).await?;
                continue;
            }
            still.push(name);
            let has_none = target != TargetState::Inactive && unit.machine_id.is_empty();
            if has_none
                && began.elapsed() > TELL_AFTER
                && told.insert(name)
                && let Ok(why) = client.why(name).await
            {
                eprintln!("{name} waits: {}", why.explanation);
            }
        }
        awaited = still;
        if awaited.is_empty() {
            return Ok(0);
        }
        if is_over(blocking, began) {
            return gave_up(client, &awaited, target).await;
        }
        tokio::time::sleep(LOOK_EACH).await;
    }
}

/// In fleet's words, and then why it is so.
async fn gave_up(client: &Client, names: &[&str], target: TargetState) -> Result<u8, Failure> {
    for name in names {
        eprintln!("Error waiting for units: timed out waiting for unit {name} to report state {target}");
        if let Ok(why) = client.why(name).await {
            eprintln!("{name}: {}", why.explanation);
        }
    }
    eprintln!("hint: `fleetctl why UNIT` and `fleetctl journal UNIT` tell more");
    Ok(1)
}

fn is_over(blocking: &Blocking, began: Instant) -> bool {
    (blocking.block_attempts > 0 && began.elapsed() >= ATTEMPT * blocking.block_attempts)
        || (blocking.wait > 0 && began.elapsed() > Duration::from_secs(blocking.wait))
}

async fn report(client: &Client, unit: &Unit, target: TargetState) -> Result<(), Failure> {
    if unit.machine_id.is_empty() {
        say!("Unit {} {target}", unit.name);
        return Ok(());
    }
    let machines = client.machines().await?;
    let ip = machines
        .iter()
        .find(|machine| machine.id == unit.machine_id)
        .map(|machine| machine.primary_ip.clone());
    let id = short(&unit.machine_id, false);
    match ip.filter(|ip| !ip.is_empty()) {
        Some(ip) => say!("Unit {} {target} on {id}/{ip}", unit.name),
        None => say!("Unit {} {target} on {id}", unit.name),
    }
    Ok(())
}

/// Whether no machine tells of the unit any more, before patience is over.
async fn is_gone(client: &Client, name: &str, blocking: &Blocking) -> Result<bool, Failure> {
    let began = Instant::now();
    while !client.states(Some(name)).await?.is_empty() {
        if is_over(blocking, began) {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_EACH).await;
    }
    Ok(true)
}
