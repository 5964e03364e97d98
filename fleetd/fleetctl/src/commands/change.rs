//! `submit`, `load`, `start`, `stop`, `unload`, `destroy`, `restart`: wishes, and waiting for them.

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
    let mut units = Vec::new();
    for arg in given(&args.units) {
        let unit = created(submitted(client, arg, replaceable(args, target)).await)?;
        wish(client, &unit, target).await?;
        units.push(unit);
    }
    let verb = if target == TargetState::Launched { "start" } else { "load" };
    wait_for_all(client, &units, target, verb, &args.blocking).await
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
    if !stopped.is_empty() && !args.blocking.no_block {
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
            eprintln!("Unable to stop unit {} in state inactive", unit.name);
            return Ok(1);
        }
        let one = std::slice::from_ref(&unit);
        for target in [TargetState::Loaded, TargetState::Launched] {
            wish(client, &unit, target).await?;
            // Whatever the flags say: without this wait, the stop would never happen.
            if target == TargetState::Loaded && !is_global(&unit) {
                let patient = Blocking { no_block: false, ..args.blocking };
                wait_for_all(client, one, target, "stop", &patient).await?;
            }
        }
        wait_for_all(client, one, TargetState::Launched, "start", &args.blocking).await?;
    }
    Ok(0)
}

pub(crate) async fn destroy(client: &Client, args: &Units) -> Result<u8, Failure> {
    let Some(found) = found(client, &args.units).await? else { return Ok(0) };
    for unit in found {
        match client.delete_unit(&unit.name).await {
            Ok(()) => {
                if !args.blocking.no_block {
                    wait_until_gone(client, &unit.name, &args.blocking).await?;
                }
                println!("Destroyed {}", unit.name);
            }
            // Somebody else was faster; it is gone, as was wished.
            Err(Failure::Api { code: 404, .. }) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(0)
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

async fn wait_for_all(
    client: &Client,
    units: &[Unit],
    target: TargetState,
    verb: &str,
    blocking: &Blocking,
) -> Result<u8, Failure> {
    for unit in units {
        if is_global(unit) {
            println!("Triggered global unit {} {verb}", unit.name);
        } else if blocking.no_block {
            println!("Triggered unit {} {verb}", unit.name);
        } else {
            wait_for(client, &unit.name, target, blocking).await?;
        }
    }
    Ok(0)
}

async fn wait_for(
    client: &Client,
    name: &str,
    target: TargetState,
    blocking: &Blocking,
) -> Result<(), Failure> {
    let began = Instant::now();
    let mut told = false;
    loop {
        let unit = client.unit(name).await?.ok_or_else(|| Failure::NoUnit(name.to_owned()))?;
        if unit.current_state == target.as_str() {
            report(client, &unit, target).await?;
            return Ok(());
        }
        if is_over(blocking, began) {
            return Err(not_reached(client, name, target, began).await);
        }
        if !told
            && began.elapsed() > TELL_AFTER
            && target != TargetState::Inactive
            && unit.machine_id.is_empty()
        {
            told = true;
            if let Ok(why) = client.why(name).await {
                eprintln!("{name} waits: {}", why.explanation);
            }
        }
        tokio::time::sleep(LOOK_EACH).await;
    }
}

fn is_over(blocking: &Blocking, began: Instant) -> bool {
    (blocking.block_attempts > 0 && began.elapsed() >= ATTEMPT * blocking.block_attempts)
        || (blocking.wait > 0 && began.elapsed() > Duration::from_secs(blocking.wait))
}

async fn not_reached(client: &Client, name: &str, target: TargetState, began: Instant) -> Failure {
    let why = client
        .why(name)
        .await
        .map(|why| why.explanation)
        .unwrap_or_else(|_| "its reason is not known".into());
    let seconds = began.elapsed().as_secs();
    Failure::NotReached { unit: name.to_owned(), wanted: target.to_string(), seconds, why }
}

async fn report(client: &Client, unit: &Unit, target: TargetState) -> Result<(), Failure> {
    if unit.machine_id.is_empty() {
        println!("Unit {} {target}", unit.name);
        return Ok(());
    }
    let machines = client.machines().await?;
    let ip = machines
        .iter()
        .find(|machine| machine.id == unit.machine_id)
        .map(|machine| machine.primary_ip.clone());
    let id = short(&unit.machine_id, false);
    match ip.filter(|ip| !ip.is_empty()) {
        Some(ip) => println!("Unit {} {target} on {id}/{ip}", unit.name),
        None => println!("Unit {} {target} on {id}", unit.name),
    }
    Ok(())
}

async fn wait_until_gone(client: &Client, name: &str, blocking: &Blocking) -> Result<(), Failure> {
    let began = Instant::now();
    while !client.states(Some(name)).await?.is_empty() {
        if is_over(blocking, began) {
            let (unit, seconds) = (name.to_owned(), began.elapsed().as_secs());
            return Err(Failure::NotReached {
                unit,
                wanted: "gone".into(),
                seconds,
                why: "it still stops".into(),
            });
        }
        tokio::time::sleep(LOOK_EACH).await;
    }
    Ok(())
}
