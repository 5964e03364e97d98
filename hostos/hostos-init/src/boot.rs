//! The way from a bare kernel to a machine that serves, step by step.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use hostos_api::{Failure, Report, Stage};
use hostos_net::{Network, NetworkUpError};
use hostos_provision::ApplyError;
use hostos_stage1::modules;
use hostos_units::{Remote, ShutdownAction};
use nix::sys::reboot::RebootMode;
use tokio::sync::mpsc;
use tokio::task::{self, JoinSet};

use crate::config::{ConfigError, Outcome};
use crate::failure::{self, failure, give_up};
use crate::report::Reporter;
use crate::state::State;
use crate::state_disk::StateDisk;
use crate::units::News;
use crate::{
    clock, config, early, identity, kernel_arguments, kernel_log, network, power, ready, root_image, space,
    state, system, units,
};

/// A daemon that is silent for so long will not answer.
const DAEMON_LIMIT: Duration = Duration::from_secs(120);

/// The first call to a machine that has just become ready has the processor for itself: loading a
/// module cannot be interrupted.
const FIRST_CALL: Duration = Duration::from_millis(500);

/// As of `nice`.
const LOWEST_PRIORITY: i32 = 19;

const DAMAGED: &str = "the release is damaged: build or fetch it again";

const STATE_HINT: &str = "give the machine a blank disk, or one that rmachine made, and start it again";

/// Boots the machine and keeps it running until it is to end.
pub(crate) fn boot(reporter: &Reporter) -> ExitCode {
    match run(reporter) {
        Ok(mode) => {
            reporter.flush(Duration::from_millis(200));
            clock::remember();
            state::unmount();
            system::end(mode)
        }
        Err(failure) => give_up(reporter, failure),
    }
}

fn run(reporter: &Reporter) -> Result<RebootMode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .map_err(|error| failure(Stage::Init, &error, ""))?;
    let (network, on_disk) = runtime.block_on(prepare(reporter))?;
    let (units, news) = units::start(reporter)?;
    reporter.stage(Stage::Units, "");
    let (remote, expected) = (units.remote(), units.expected.clone());
    let background = reporter.clone();
    thread::Builder::new()
        .name("background".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                tokio::join!(
                    accompany(&background, network, on_disk, expected, news, remote),
                    space::watch(&background, on_disk)
                )
            })
        })
        .map_err(|error| failure(Stage::Units, &error, ""))?;
    units.run()
}

/// Everything up to the units: mounts, modules, state, config, network. Also says whether the state is on a disk.
async fn prepare(reporter: &Reporter) -> Result<(Network, bool), Failure> {
    early::mount_all().map_err(|error| failure(Stage::Init, &error, ""))?;
    kernel_log::start();
    early::set_up_cgroups().map_err(|error| failure(Stage::Init, &error, ""))?;
    reporter.stage(Stage::Init, "");
    load_modules("early").map_err(|error| failure(Stage::Modules, &error, DAMAGED))?;
    let state = state::mount_state().map_err(|error| failure(Stage::State, &error, STATE_HINT))?;
    match &state {
        State::Memory => reporter.stage(Stage::State, "no state disk: everything is kept in memory"),
        State::Disk(disk) => {
            reporter.stage(Stage::State, describe(disk));
            space::make_room(reporter);
        }
    }
    clock::not_before_the_floor();
    if let Some(last) = failure::last() {
        reporter.warn(format!("the boot before this one failed: {last}"));
    }
    let late = task::spawn_blocking(|| load_modules("late"));
    early::set_kernel_parameters();
    // A config that takes no network decides what the network is.
    let first = blocking(config::apply_without_network).await?;
    let settled = match first.map_err(|error| refused(reporter, &state, &error))? {
        Some(outcome) => {
            accept(reporter, outcome);
            true
        }
        None => false,
    };
    identity::name_machine(None);
    let (configuration, mut network) =
        network::bring_up(reporter).await.map_err(|error| no_network(&error))?;
    report_network(reporter, &network);
    if !settled {
        clock::set_before_fetch(&network.time_servers()).await;
        let outcome = blocking(config::apply).await?;
        accept(reporter, outcome.map_err(|error| refused(reporter, &state, &error))?);
        network =
            network::obey(reporter, configuration, network).await.map_err(|error| no_network(&error))?;
    }
    clock::not_before_the_certificate();
    identity::name_machine(network.hostname().as_deref());
    if let Err(error) = identity::ensure_machine_id() {
        reporter.warn(format!("cannot write /etc/machine-id: {error}"));
    }
    if let Some(online) = network.online().filter(|online| online.address.is_ipv4() && online.prefix > 0)
        && let Err(error) = network::write_environment(online.address)
    {
        reporter.warn(format!("cannot write /etc/environment: {error}"));
    }
    late.await
        .map_err(|error| failure(Stage::Modules, &error, ""))?
        .map_err(|error| failure(Stage::Modules, &error, DAMAGED))?;
    reporter.stage(Stage::Modules, "");
    Ok((network, matches!(state, State::Disk(_))))
}

/// Runs what blocks on another thread; only a bug ends that without a result.
async fn blocking<T: Send + 'static>(work: fn() -> T) -> Result<T, Failure> {
    task::spawn_blocking(work).await.map_err(|error| failure(Stage::Ignition, &error, ""))
}

fn no_network(error: &NetworkUpError) -> Failure {
    failure(Stage::Network, error, "check the machine's network interface")
}

fn report_network(reporter: &Reporter, network: &Network) {
    let detail = match network.online() {
        Some(online) => format!("{} {}/{}", online.link, online.address, online.prefix),
        None => "no link has to have an address".to_owned(),
    };
    reporter.stage(Stage::Network, detail);
}

/// Says what came of the config, and starts from it.
fn accept(reporter: &Reporter, outcome: Outcome) {
    kernel_arguments::settled();
    let fresh = matches!(outcome, Outcome::Applied { .. });
    match outcome {
        Outcome::Before => reporter.stage(Stage::Ignition, "applied on an earlier boot"),
        Outcome::None => reporter.stage(Stage::Ignition, "no config"),
        Outcome::Applied { source, warnings } => {
            for warning in warnings {
                reporter.warn(warning.to_string());
            }
            reporter.stage(Stage::Ignition, source);
        }
    }
    units::apply_presets(fresh);
}

/// Why there is no machine of this config; or the machine restarts, which does not return.
fn refused(reporter: &Reporter, state: &State, error: &ConfigError) -> Failure {
    if let ConfigError::Apply(ApplyError::KernelArguments { wanted, arguments }) = error {
        return kernel_arguments::ask(reporter, state, arguments, wanted);
    }
    let hint = "correct the config and make the machine again; `hostos ignition validate FILE` checks it";
    failure(Stage::Ignition, error, hint)
}

/// Beside the units: says when the machine is ready, keeps its addresses, waits for the power button.
async fn accompany(
    reporter: &Reporter,
    network: Network,
    on_disk: bool,
    expected: Vec<&'static str>,
    mut news: mpsc::UnboundedReceiver<News>,
    remote: Remote,
) {
    let mut presses = power::watch();
    let ready = async {
        let address = network.online().map_or(Ipv4Addr::LOCALHOST.into(), |online| online.address);
        match wait_for_daemons(reporter, &expected, address, &mut news).await {
            Ok(()) => reporter.send(Report::Ready {
                uptime_ms: system::uptime_ms(),
                version: system::VERSION.to_owned(),
                addresses: network
                    .online()
                    .map(|online| online.address)
                    .filter(|address| !address.is_unspecified())
                    .into_iter()
                    .collect(),
            }),
            // The machine stays up: whoever made it may want to look inside.
            Err(failure) => {
                println!("rmachine: failed: {}", failure.message);
                reporter.send(Report::Failed(failure));
            }
        }
        // Nobody listens from now on.
        news.close();
        tokio::time::sleep(FIRST_CALL).await;
        if let Ok(Err(error)) = task::spawn_blocking(load_idle_modules).await {
            reporter.warn(format!("{}: {DAMAGED}", failure::sentence(&error)));
        }
        if on_disk {
            free_root_memory().await;
        }
        std::future::pending::<()>().await;
    };
    let on_time = clock::keep_right(network.ask_time_servers());
    tokio::select! {
        () = ready => {}
        () = on_time => {}
        _ = presses.recv() => remote.shutdown(ShutdownAction::Poweroff, "power button"),
    }
    // The network is kept to the very end: units that stop may still need it.
    std::future::pending::<()>().await;
}

/// Once those who waited for the machine had their turn.
async fn free_root_memory() {
    tokio::time::sleep(Duration::from_secs(3)).await;
    if let Ok(Err(error)) = task::spawn_blocking(root_image::move_to_disk).await {
        tracing::warn!(%error, "the root stays in memory");
    }
}

fn describe(disk: &StateDisk) -> String {
    let made = if disk.fresh { ", made just now" } else { "" };
    format!("{} MiB on {}{made}", disk.size / (1024 * 1024), disk.device.display())
}

/// Behind whatever waited for the machine: the first call to the engine comes now.
fn load_idle_modules() -> Result<usize, modules::LoadModulesError> {
    let thread = thread::Builder::new().name("modules".to_owned()).spawn(|| {
        if let Err(error) = rustix::process::setpriority_process(None, LOWEST_PRIORITY) {
            tracing::debug!(%error, "modules are loaded with the usual priority");
        }
        load_modules("idle")
    });
    match thread.map(thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        // Then in this one.
        _ => load_modules("idle"),
    }
}

fn load_modules(list: &str) -> Result<usize, modules::LoadModulesError> {
    let tree = Path::new("/usr/lib/modules").join(system::kernel_release());
    modules::load_list(&tree, &tree.join(format!("load.{list}")))
}

/// Waits until every expected service serves, or one of them has failed for good.
async fn wait_for_daemons(
    reporter: &Reporter,
    expected: &[&'static str],
    address: IpAddr,
    news: &mut mpsc::UnboundedReceiver<News>,
) -> Result<(), Failure> {
    let asked = expected.iter().filter(|unit| !units::TELLING.contains(unit));
    let mut coming: JoinSet<_> = asked.map(|unit| answers(unit, address)).collect();
    let mut waiting = expected.to_vec();
    let end = tokio::time::Instant::now() + DAEMON_LIMIT;
    while let Some(first) = waiting.first() {
        let heard = tokio::select! {
            Some(joined) = coming.join_next() => joined.ok(),
            Some(told) = news.recv() => match told {
                News::Active(name) => waiting.iter().find(|unit| **unit == name).copied(),
                News::Failed(name) => match waiting.iter().find(|unit| **unit == name) {
                    Some(unit) => {
                        let (_, what) = describe_daemon(unit);
                        return Err(daemon_failure(unit, format!("{what} does not start: {unit} failed")));
                    }
                    None => None,
                },
            },
            () = tokio::time::sleep_until(end) => {
                let ((_, what), limit) = (describe_daemon(first), DAEMON_LIMIT.as_secs());
                return Err(daemon_failure(first, format!("{what} did not answer within {limit} s")));
            }
        };
        if let Some(unit) = heard {
            waiting.retain(|other| *other != unit);
            reporter.stage(describe_daemon(unit).0, "");
        }
    }
    Ok(())
}

/// Comes back once a daemon that does not tell answers.
async fn answers(unit: &'static str, address: IpAddr) -> &'static str {
    match unit {
        units::KV => ready::port(address, 2379).await,
        _ => ready::socket("/run/fleet.sock").await,
    }
    unit
}

fn describe_daemon(unit: &str) -> (Stage, &'static str) {
    match unit {
        units::ENGINE => (Stage::Engine, "the engine"),
        units::KV => (Stage::Kv, "the key-value store"),
        units::FLEET => (Stage::Fleet, "the fleet agent"),
        _ => (Stage::Ssh, "the ssh server"),
    }
}

fn daemon_failure(unit: &str, message: String) -> Failure {
    let (stage, _) = describe_daemon(unit);
    Failure { stage, message, hint: format!("look at `journalctl -u {unit}` on the machine") }
}
