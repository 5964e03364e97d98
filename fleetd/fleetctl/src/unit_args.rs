//! From what a user types to units: names, files, templates.

use std::path::Path;

use fleet_api::Unit;
use fleet_unit::{Placement, TargetState, UnitName, UnitOptions};

use crate::client::Client;
use crate::failure::Failure;

/// The unit that an argument means: its last part, with `.service` where no type is named.
pub(crate) fn unit_name(arg: &str) -> Result<UnitName, Failure> {
    let base =
        Path::new(arg).file_name().map_or_else(|| arg.to_owned(), |name| name.to_string_lossy().into_owned());
    let named: Result<UnitName, _> = base.parse();
    match named {
        Ok(name) => Ok(name),
        Err(_) => {
            format!("{base}.service").parse().map_err(|error| Failure::Usage(format!("{arg}: {error}")))
        }
    }
}

/// Reads and checks a unit file.
pub(crate) fn read_unit(path: &Path, name: &UnitName) -> Result<UnitOptions, Failure> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Read { path: shown.clone(), reason: error.to_string() })?;
    let refused = |reason: String| Failure::UnitFile { path: shown.clone(), reason };
    let options = UnitOptions::parse(&text).map_err(|error| refused(error.to_string()))?;
    if options.0.is_empty() {
        return Err(refused("the unit file is empty".into()));
    }
    Placement::of(name, &options).map_err(|error| refused(error.to_string()))?;
    Ok(options)
}

/// Finds the content for an argument and submits it if the cluster does not have it: the unit in the
/// cluster, the file, the template in the cluster, the template's file, in this order. A unit in the
/// cluster that differs from the file is replaced in the states that `replace` names, if any.
pub(crate) async fn submitted(
    client: &Client,
    arg: &str,
    replace: Option<&[TargetState]>,
) -> Result<Unit, Failure> {
    let name = unit_name(arg)?;
    let existing = client.unit(name.as_str()).await?;
    if let Some(unit) = existing {
        return keep_or_replace(client, arg, &name, unit, replace).await;
    }
    let options = content(client, arg, &name).await?;
    let unit = Unit {
        name: name.to_string(),
        desired_state: TargetState::Inactive.to_string(),
        options: options.0,
        ..Unit::default()
    };
    client.put_unit(&unit).await?;
    println!("Unit {name} inactive");
    Ok(unit)
}

async fn keep_or_replace(
    client: &Client,
    arg: &str,
    name: &UnitName,
    unit: Unit,
    replace: Option<&[TargetState]>,
) -> Result<Unit, Failure> {
    let file = Path::new(arg);
    let local = if file.exists() { Some(read_unit(file, name)?) } else { None };
    match (local, replace) {
        (Some(options), Some(allowed)) if options.0 != unit.options => {
            let state = unit.desired_state.parse().unwrap_or(TargetState::Inactive);
            if !allowed.contains(&state) {
                let message =
                    format!("unable to replace unit {name} in state {state}; `start --replace` can");
                return Err(Failure::Usage(message));
            }
            let new = Unit { options: options.0, ..unit };
            client
                .put_unit(&Unit { current_state: String::new(), machine_id: String::new(), ..new.clone() })
                .await?;
            println!("Unit {name} replaced");
            Ok(new)
        }
        (Some(options), None) if options.0 != unit.options => {
            eprintln!(
                "WARNING: Unit {name} in registry differs from local unit file {arg}. Add --replace to override."
            );
            Ok(unit)
        }
        _ => Ok(unit),
    }
}

async fn content(client: &Client, arg: &str, name: &UnitName) -> Result<UnitOptions, Failure> {
    let file = Path::new(arg);
    if file.exists() {
        return read_unit(file, name);
    }
    if let Some(template) = name.template() {
        if let Some(unit) = client.unit(template.as_str()).await? {
            return Ok(UnitOptions(unit.options));
        }
        let beside = file.with_file_name(template.as_str());
        if beside.exists() {
            return read_unit(&beside, name);
        }
        let message =
            format!("unable to find Unit({name}) or template Unit({template}) in Registry or on filesystem");
        return Err(Failure::Usage(message));
    }
    Err(Failure::Usage(format!("unable to find Unit({name}) in Registry or on filesystem")))
}

/// Is it a global unit?
pub(crate) fn is_global(unit: &Unit) -> bool {
    let Ok(name) = unit.name.parse::<UnitName>() else { return false };
    Placement::of(&name, &UnitOptions(unit.options.clone())).is_ok_and(|placement| placement.global)
}
