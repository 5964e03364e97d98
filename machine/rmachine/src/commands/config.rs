//! `rmachine config`: flags for a docker client.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use machine_types::MachineName;

use crate::context::Context;
use crate::engine;
use crate::failure::Failure;
use crate::keys::keep_client_young;
use crate::machine::{Machine, name_or_default};

/// Flags of `config`.
#[derive(Debug, Args)]
pub(crate) struct Config {
    /// Name of the machine [default: default]
    name: Option<String>,
    /// Point to the swarm master instead: refused, its protocol is gone
    #[arg(long, hide = true)]
    swarm: bool,
}

pub(crate) fn run(context: &Context, args: &Config) -> Result<ExitCode, Failure> {
    refuse_swarm(args.swarm)?;
    let name = name_or_default(context, args.name.as_ref())?;
    let reach = reach(context, &name)?;
    say!("--tlsverify");
    for (flag, file) in [("tlscacert", "ca.pem"), ("tlscert", "cert.pem"), ("tlskey", "key.pem")] {
        say!("--{flag}=\"{}/{file}\"", reach.keys);
    }
    say!("-H={}", reach.url);
    Ok(ExitCode::SUCCESS)
}

/// What a client needs.
pub(crate) struct Reach {
    pub(crate) url: String,
    pub(crate) keys: String,
    pub(crate) address: String,
}

/// What a client of this machine needs, after a look whether it works.
pub(crate) fn reach(context: &Context, name: &MachineName) -> Result<Reach, Failure> {
    let machine = Machine::load(context, name)?;
    let url = machine.url()?;
    keep_client_young(context, &machine.place.dir);
    if !machine.driver.has_own_engine() {
        engine::get(&url, &machine.place.dir, "/_ping", Duration::from_secs(20))?;
    }
    Ok(Reach {
        url,
        keys: machine.place.dir.display().to_string(),
        address: machine.driver.address().unwrap_or_default(),
    })
}

pub(crate) fn refuse_swarm(asked: bool) -> Result<(), Failure> {
    if asked {
        return Err(Failure::new("there is no swarm master to point to: `--swarm` cannot be honoured")
            .hint("leave it out: the machine's own engine is what answers"));
    }
    Ok(())
}
