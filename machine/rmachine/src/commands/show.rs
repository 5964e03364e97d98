//! Commands that print one fact: ip, status, url, version.

use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use clap::Args;
use machine_types::{MachineName, State};

use crate::commands::each;
use crate::context::Context;
use crate::engine;
use crate::failure::Failure;
use crate::machine::{Machine, known, name_or_default, names_or_default};

const LIMIT: Duration = Duration::from_secs(10);

/// One machine.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// Name of the machine [default: default]
    pub(crate) name: Option<String>,
}

/// One machine, or none at all.
#[derive(Debug, Args)]
pub(crate) struct Optional {
    /// Name of a machine, to ask its engine
    name: Option<String>,
}

/// Several machines.
#[derive(Debug, Args)]
pub(crate) struct Many {
    /// Names of machines [default: default]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

pub(crate) fn ip(context: &Context, args: &Many) -> Result<ExitCode, Failure> {
    let names = names_or_default(context, &args.names)?;
    let addresses: Vec<OnceLock<String>> = names.iter().map(|_| OnceLock::new()).collect();
    let asked: Vec<_> = names.iter().zip(&addresses).collect();
    let outcome = each(&asked, |(name, address)| {
        address.set(one_address(context, name)?).expect("each is asked once");
        Ok(())
    });
    addresses.iter().filter_map(OnceLock::get).for_each(|address| say!("{address}"));
    outcome
}

fn one_address(context: &Context, name: &MachineName) -> Result<String, Failure> {
    let machine = Machine::load(context, name)?;
    if machine.state(LIMIT)? == State::Stopped {
        return Err(
            Failure::elder("Host is not running").hint(format!("start it with `rmachine start {name}`"))
        );
    }
    machine.driver.address().ok_or_else(|| Failure::new(format!("machine `{name}` has no address")))
}

pub(crate) fn url(context: &Context, args: &One) -> Result<ExitCode, Failure> {
    let name = name_or_default(context, args.name.as_ref())?;
    say!("{}", Machine::load(context, &name)?.url()?);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn version(context: &Context, args: &Optional) -> Result<ExitCode, Failure> {
    let Some(name) = &args.name else {
        say!("rmachine version {}", env!("CARGO_PKG_VERSION"));
        return Ok(ExitCode::SUCCESS);
    };
    let machine = Machine::load(context, &known(name)?)?;
    say!("{}", engine_version(&machine.url()?, &machine.place.dir, LIMIT)?);
    Ok(ExitCode::SUCCESS)
}

/// Version of the engine at this URL.
pub(crate) fn engine_version(url: &str, keys: &std::path::Path, limit: Duration) -> Result<String, Failure> {
    let body = engine::get(url, keys, "/version", limit)?;
    let answer: serde_json::Value = serde_json::from_slice(&body)
        .map_err(|error| Failure::because(format!("the engine at {url} gave no version"), &error))?;
    Ok(answer["Version"].as_str().unwrap_or("Unknown").to_owned())
}
