//! Commands that print one fact: ip, status, url, version.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use machine_types::{MachineName, State};

use crate::context::Context;
use crate::engine;
use crate::failure::Failure;
use crate::machine::{Machine, name_or_default, names_or_default};

const LIMIT: Duration = Duration::from_secs(10);

/// One machine.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Name of the machine [default: default]
    pub(crate) name: Option<MachineName>,
}

/// One machine, or none at all.
#[derive(Debug, Args)]
pub(crate) struct Optional {
    /// Name of a machine, to ask its engine
    name: Option<MachineName>,
}

/// Several machines.
#[derive(Debug, Args)]
pub(crate) struct Many {
    /// Names of machines [default: default]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<MachineName>,
}

pub(crate) fn ip(context: &Context, args: &Many) -> Result<ExitCode, Failure> {
    for name in names_or_default(context, &args.names)? {
        let machine = Machine::load(context, &name)?;
        if machine.state(LIMIT)? == State::Stopped {
            return Err(
                Failure::new("Host is not running").hint(format!("start it with `rmachine start {name}`"))
            );
        }
        let address = machine.driver.address();
        println!("{}", address.ok_or_else(|| Failure::new(format!("machine `{name}` has no address")))?);
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn status(context: &Context, args: &One) -> Result<ExitCode, Failure> {
    let name = name_or_default(context, args.name.as_ref())?;
    println!("{}", Machine::load(context, &name)?.state(LIMIT)?);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn url(context: &Context, args: &One) -> Result<ExitCode, Failure> {
    let name = name_or_default(context, args.name.as_ref())?;
    println!("{}", Machine::load(context, &name)?.url()?);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn version(context: &Context, args: &Optional) -> Result<ExitCode, Failure> {
    let Some(name) = &args.name else {
        println!("rmachine version {}", env!("CARGO_PKG_VERSION"));
        return Ok(ExitCode::SUCCESS);
    };
    let machine = Machine::load(context, name)?;
    println!("{}", engine_version(&machine.url()?, &machine.place.dir, LIMIT)?);
    Ok(ExitCode::SUCCESS)
}

/// Version of the engine at this URL.
pub(crate) fn engine_version(url: &str, keys: &std::path::Path, limit: Duration) -> Result<String, Failure> {
    let body = engine::get(url, keys, "/version", limit)?;
    let answer: serde_json::Value = serde_json::from_slice(&body)
        .map_err(|error| Failure::because(format!("the engine at {url} gave no version"), &error))?;
    Ok(answer["Version"].as_str().unwrap_or("Unknown").to_owned())
}
