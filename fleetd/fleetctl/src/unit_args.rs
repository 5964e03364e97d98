//! From what a user types to units: names, files, templates.

use std::path::{Path, PathBuf};

use fleet_api::Unit;
use fleet_unit::{NameError, Placement, TargetState, UnitName, UnitOptions};

use crate::client::Client;
use crate::failure::Failure;

/// The unit that an argument means: its last part, with `.service` where no type is named.
pub(crate) fn unit_name(arg: &str) -> Result<UnitName, Failure> {
    let file = with_type(arg);
    let base = file.file_name().map_or_else(|| arg.to_owned(), |name| name.to_string_lossy().into_owned());
    base.parse().map_err(|error| Failure::Usage(format!("{arg}: {error}")))
}

/// What an argument means as a path: `dir/web` is `dir/web.service`.
fn with_type(arg: &str) -> PathBuf {
    let base = Path::new(arg).file_name().map(|name| name.to_string_lossy().into_owned());
    match base.unwrap_or_default().parse::<UnitName>() {
        Err(NameError::NoType | NameError::UnknownType(_) | NameError::EndsInDot) => {
            PathBuf::from(format!("{arg}.service"))
        }
        Ok(_) | Err(_) => PathBuf::from(arg),
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
/// cluster that differs from the file is replaced in the states that `replace` names, if any. Nothing
/// when it would have to be replaced in another: then it is left as it is.
pub(crate) async fn submitted(
    client: &Client,
    arg: &str,
    replace: Option<&[TargetState]>,
) -> Result<Option<Unit>, Failure> {
    let name = unit_name(arg)?;
    let file = with_type(arg);
    if let Some(unit) = client.unit(name.as_str()).await? {
        return keep_or_replace(client, &file, &name, unit, replace).await;
    }
    let options = content(client, &file, &name).await?;
    let unit = Unit {
        name: name.to_string(),
        desired_state: TargetState::Inactive.to_string(),
        options: options.0,
        ..Unit::default()
    };
    client.put_unit(&unit).await?;
    say!("Unit {name} inactive");
    Ok(Some(unit))
}

async fn keep_or_replace(
    client: &Client,
    file: &Path,
    name: &UnitName,
    unit: Unit,
    replace: Option<&[TargetState]>,
) -> Result<Option<Unit>, Failure> {
    let local = local_content(file, name)?;
    let differs = local.as_ref().is_some_and(|(local, _)| !local.same_as(&UnitOptions(unit.options.clone())));
    match (local, replace) {
        (None, Some(_)) => Err(Failure::Usage(match name.template() {
            Some(template) => {
                format!("neither {} nor {template} is a file: nothing to replace with", file.display())
            }
            None => format!("{} is no file: nothing to replace with", file.display()),
        })),
        (Some((options, _)), Some(allowed)) if differs => {
            let state = unit.desired_state.parse().unwrap_or(TargetState::Inactive);
            if !allowed.contains(&state) {
                eprintln!(
                    "Warning: can not replace Unit({name}) in state '{state}', use the appropriate command"
                );
                return Ok(None);
            }
            let new = Unit { options: options.0, ..unit };
            client
                .put_unit(&Unit { current_state: String::new(), machine_id: String::new(), ..new.clone() })
                .await?;
            say!("Unit {name} replaced");
            Ok(Some(new))
        }
        (Some(_), Some(_)) => {
            say!("Found same Unit({name}) in Registry, nothing to do");
            Ok(Some(unit))
        }
        (Some((_, kind)), None) if differs => {
            eprintln!(
                "WARNING: Unit {name} in registry differs from local {kind} {}. Add --replace to override.",
                file.display()
            );
            Ok(Some(unit))
        }
        (_, None) => Ok(Some(unit)),
    }
}

/// What a unit that exists is compared with: its own file, else its template's.
fn local_content(file: &Path, name: &UnitName) -> Result<Option<(UnitOptions, &'static str)>, Failure> {
    if file.exists() {
        return Ok(Some((read_unit(file, name)?, "unit file")));
    }
    let template = name.template().map(|template| file.with_file_name(template.as_str()));
    match template.filter(|template| template.exists()) {
        Some(template) => Ok(Some((read_unit(&template, name)?, "template unit file"))),
        None => Ok(None),
    }
}

/// What a unit that does not exist yet is made of.
async fn content(client: &Client, file: &Path, name: &UnitName) -> Result<UnitOptions, Failure> {
    if file.exists() {
        return read_unit(file, name);
    }
    let Some(template) = name.template() else {
        return Err(Failure::Usage(format!("unable to find Unit({name}) in Registry or on filesystem")));
    };
    let beside = file.with_file_name(template.as_str());
    if let Some(unit) = client.unit(template.as_str()).await? {
        let options = UnitOptions(unit.options);
        if beside.exists() && !read_unit(&beside, name)?.same_as(&options) {
            eprintln!(
                "WARNING: Unit {template} in registry differs from local template unit file {}. \
                 Add --replace to override.",
                file.display()
            );
        }
        return Ok(options);
    }
    if beside.exists() {
        return read_unit(&beside, name);
    }
    let message =
        format!("unable to find Unit({name}) or template Unit({template}) in Registry or on filesystem");
    Err(Failure::Usage(message))
}

/// Is it a global unit?
pub(crate) fn is_global(unit: &Unit) -> bool {
    let Ok(name) = unit.name.parse::<UnitName>() else { return false };
    Placement::of(&name, &UnitOptions(unit.options.clone())).is_ok_and(|placement| placement.global)
}
