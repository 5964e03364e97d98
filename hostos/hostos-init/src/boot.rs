//! The way from a bare kernel to a machine that serves, step by step.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use hostos_api::{Failure, Report, Stage};
use hostos_stage1::modules;
use nix::sys::reboot::RebootMode;
use tokio::task;

use crate::config::Outcome;
use crate::failure::{failure, give_up};
use crate::report::Reporter;
use crate::state::State;
use crate::state_disk::StateDisk;
use crate::{config, early, kernel_log, network, power, ready, services, state, system};

/// A daemon that is silent for so long will not answer.
const DAEMON_LIMIT: Duration = Duration::from_secs(120);

const STATE_HINT: &str = "give the machine a blank disk, or one that rmachine made, and start it again";

/// Boots the machine and keeps it running until it is to end.
pub(crate) fn boot(reporter: &Reporter) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(reporter)),
        Err(error) => Err(failure(Stage::Init, &error, "")),
    };
    match ended {
        Ok(mode) => system::end(mode),
        Err(failure) => give_up(reporter, failure),
    }
}

async fn run(reporter: &Reporter) -> Result<RebootMode, Failure> {
    early::mount_all().map_err(|error| failure(Stage::Init, &error, ""))?;
    kernel_log::start();
    early::set_up_cgroups().map_err(|error| failure(Stage::Init, &error, ""))?;
    reporter.stage(Stage::Init, "");
    load_modules("early").map_err(|error| {
        failure(Stage::Modules, &error, "the release is damaged: build or fetch it again")
    })?;
    let state = state::mount_state().map_err(|error| failure(Stage::State, &error, STATE_HINT))?;
    match state {
        State::Memory => reporter.stage(Stage::State, "no state disk: everything is kept in memory"),
        State::Disk(disk) => reporter.stage(Stage::State, describe(&disk)),
    }
    let late = task::spawn_blocking(|| load_modules("late"));
    early::set_kernel_parameters();
    let network = network::bring_up()
        .await
        .map_err(|error| failure(Stage::Network, &error, "check the machine's network interface"))?;
    let address = network.lease.address;
    reporter.stage(Stage::Network, format!("{} {address}/{}", network.link.name, network.lease.prefix));
    apply_config(reporter)?;
    name_machine(network.lease.hostname.as_deref());
    if let Err(error) = network::write_environment(IpAddr::V4(address)) {
        reporter.warn(format!("cannot write /etc/environment: {error}"));
    }
    late.await.map_err(|error| failure(Stage::Modules, &error, ""))?.map_err(|error| {
        failure(Stage::Modules, &error, "the release is damaged: build or fetch it again")
    })?;
    reporter.stage(Stage::Modules, "");
    let mut presses = power::watch();
    let _services = services::start();
    reporter.stage(Stage::Units, "");
    wait_for_daemons(reporter).await?;
    reporter.send(Report::Ready {
        uptime_ms: system::uptime_ms(),
        version: system::VERSION.to_owned(),
        addresses: vec![IpAddr::V4(address)],
    });
    presses.recv().await;
    reporter.send(Report::Stopping { reason: "power button".to_owned() });
    reporter.flush(Duration::from_millis(200));
    Ok(RebootMode::RB_POWER_OFF)
}

fn describe(disk: &StateDisk) -> String {
    let made = if disk.fresh { ", made just now" } else { "" };
    format!("{} MiB on {}{made}", disk.size / (1024 * 1024), disk.device.display())
}

fn load_modules(list: &str) -> Result<usize, modules::LoadModulesError> {
    let tree = Path::new("/usr/lib/modules").join(system::kernel_release());
    modules::load_list(&tree, &tree.join(format!("load.{list}")))
}

fn apply_config(reporter: &Reporter) -> Result<(), Failure> {
    let hint = "correct the config and make the machine again; `hostos ignition validate FILE` checks it";
    match config::apply().map_err(|error| failure(Stage::Ignition, &error, hint))? {
        Outcome::None => reporter.stage(Stage::Ignition, "no config"),
        Outcome::Before => reporter.stage(Stage::Ignition, "applied on an earlier boot"),
        Outcome::Applied { source, warnings } => {
            for warning in warnings {
                reporter.warn(warning.to_string());
            }
            reporter.stage(Stage::Ignition, source);
        }
    }
    Ok(())
}

/// The name in /etc/hostname, else what DHCP says, else `localhost`.
fn name_machine(offered: Option<&str>) {
    let chosen = fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name = [chosen.trim(), offered.unwrap_or_default(), "localhost"]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or("localhost")
        .to_owned();
    if let Err(error) = nix::unistd::sethostname(&name) {
        tracing::warn!(name, %error, "hostname not set");
    }
}

async fn wait_for_daemons(reporter: &Reporter) -> Result<(), Failure> {
    let silent = |stage, what: &str, unit: &str| Failure {
        stage,
        message: format!("{what} did not answer within {} s", DAEMON_LIMIT.as_secs()),
        hint: format!("look at `journalctl -u {unit}` on the machine"),
    };
    if services::has("/usr/bin/engined") {
        if !ready::engine(DAEMON_LIMIT).await {
            return Err(silent(Stage::Engine, "the engine", "docker.service"));
        }
        reporter.stage(Stage::Engine, "");
    }
    if services::has("/usr/bin/sshd") {
        if !ready::ssh(DAEMON_LIMIT).await {
            return Err(silent(Stage::Ssh, "the ssh server", "sshd.service"));
        }
        reporter.stage(Stage::Ssh, "");
    }
    Ok(())
}
