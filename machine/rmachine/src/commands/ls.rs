//! `rmachine ls`: every machine as it is now, within the time-out.

mod filter;

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use filter::Filters;
use go_template::{Missing, Template};
use machine_pxe::Progress;
use machine_types::{HostOptions, MachineName, State};
use serde_json::{Value, json};

use crate::commands::power::lost_its_switch;
use crate::commands::pxe;
use crate::commands::show::engine_version;
use crate::context::Context;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::table::align;

/// Flags of `ls`.
#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Print names only
    #[arg(long, short)]
    quiet: bool,
    /// Only machines for which this holds: driver, state, name, label, swarm
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Seconds to wait for machines to tell their state
    #[arg(long, short = 't', default_value_t = 10, value_name = "SECONDS")]
    timeout: u64,
    /// Print with this Go template (`table …` with a header), or as json
    #[arg(long, short, value_name = "TEMPLATE")]
    format: Option<String>,
}

const DEFAULT_FORMAT: &str = "table {{.Name}}\t{{.Active}}\t{{.DriverName}}\t{{.State}}\t{{.URL}}\t{{.Swarm}}\t{{.DockerVersion}}\t{{.Error}}";

/// What a list needs to know beyond the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Nothing,
    State,
    StateAndVersion,
}

/// One line of the list.
pub(crate) struct Item {
    pub(crate) name: MachineName,
    /// DOCKER_HOST points to its engine.
    pub(crate) active_host: bool,
    /// DOCKER_HOST points to the swarm it leads.
    pub(crate) active_swarm: bool,
    pub(crate) driver: String,
    pub(crate) state: State,
    pub(crate) url: String,
    pub(crate) options: HostOptions,
    pub(crate) version: String,
    pub(crate) error: String,
    pub(crate) took: Duration,
}

pub(crate) fn run(context: &Context, args: &Ls) -> Result<ExitCode, Failure> {
    let filters = Filters::parse(&args.filter)?;
    let names = context.store.names()?;
    if args.quiet && filters.is_empty() {
        let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
        put!("{lines}");
        return Ok(ExitCode::SUCCESS);
    }
    let format = args.format.as_deref().unwrap_or(DEFAULT_FORMAT);
    let with_version = !args.quiet && (format.contains(".DockerVersion") || format == "json");
    let limit = Duration::from_secs(args.timeout);
    let ask = if args.quiet && !filters.ask_for_state() {
        Ask::Nothing
    } else if with_version {
        Ask::StateAndVersion
    } else {
        Ask::State
    };
    let mut all = list(context, &names, limit, ask);
    if !args.quiet {
        all.extend(bare_machines(context)?);
    }
    let items: Vec<&Item> = all.iter().filter(|item| filters.accept(item, &all)).collect();
    if args.quiet {
        items.iter().for_each(|item| say!("{}", item.name));
    } else if format == "json" {
        let values: Vec<Value> = items.iter().map(|item| fields(item, &all)).collect();
        say!("{}", Value::Array(values));
    } else {
        put!("{}", show(format, &items, &all)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Machines that boot from the network, as the clusters' books of them say.
fn bare_machines(context: &Context) -> Result<Vec<Item>, Failure> {
    let mut items = Vec::new();
    for cluster in crate::cluster::all(context)? {
        for known in pxe::known(context, &cluster.name) {
            let name = known.name.clone().unwrap_or_else(|| known.mac.to_string().replace(':', "-"));
            let Ok(name) = name.parse() else { continue };
            items.push(Item {
                name,
                active_host: false,
                active_swarm: false,
                driver: "pxe".into(),
                state: match known.progress {
                    Progress::Discovered => State::Stopped,
                    Progress::Approved | Progress::Loading | Progress::Configured => State::Starting,
                    Progress::Joined => State::Running,
                },
                url: known.address.map(|address| format!("tcp://{address}:2376")).unwrap_or_default(),
                options: HostOptions { cluster: Some(cluster.name.clone()), ..HostOptions::default() },
                version: "Unknown".into(),
                error: if known.progress == Progress::Joined { String::new() } else { pxe::sentence(&known) },
                took: Duration::ZERO,
            });
        }
    }
    Ok(items)
}

/// Looks at all these machines at once.
pub(crate) fn list(context: &Context, names: &[MachineName], limit: Duration, ask: Ask) -> Vec<Item> {
    let docker_host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let look = |name: &MachineName| look(context, name, limit, ask, &docker_host);
    // All are asked at once, so that the limit holds for the whole list: a machine that does not
    // answer keeps its thread waiting.
    let workers = match ask {
        Ask::Nothing => 1,
        Ask::State | Ask::StateAndVersion => names.len().clamp(1, 256),
    };
    let mut items: Vec<(usize, Item)> = thread::scope(|scope| {
        let running: Vec<_> = (0..workers)
            .map(|worker| {
                let look = &look;
                scope.spawn(move || {
                    let mine = names.iter().enumerate().skip(worker).step_by(workers);
                    mine.map(|(at, name)| (at, look(name))).collect::<Vec<_>>()
                })
            })
            .collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    items.sort_by_key(|(at, _)| *at);
    items.into_iter().map(|(_, item)| item).collect()
}

fn look(context: &Context, name: &MachineName, limit: Duration, ask: Ask, docker_host: &str) -> Item {
    let start = Instant::now();
    let mut item = Item {
        name: name.clone(),
        active_host: false,
        active_swarm: false,
        driver: "not found".into(),
        state: State::Error,
        url: String::new(),
        options: HostOptions::default(),
        version: "Unknown".into(),
        error: String::new(),
        took: Duration::ZERO,
    };
    match Machine::load(context, name) {
        Ok(machine) => {
            item.driver.clone_from(&machine.record.driver_name);
            item.options = machine.record.host_options.clone();
            if ask == Ask::Nothing {
                return item;
            }
            tell_state(&mut item, &machine, limit);
            if !machine.record.is_complete() && item.error.is_empty() {
                let working = context.store.is_locked(name);
                let told = if working {
                    "create is going on"
                } else {
                    "create was interrupted: run it again, or rm"
                };
                item.error = told.into();
            }
            if item.state == State::Running {
                item.url = machine.driver.engine_url().unwrap_or_default();
                item.active_host = !docker_host.is_empty() && item.url == docker_host;
                let swarm = &item.options.swarm_options;
                item.active_swarm = swarm.master && swarm_url(&item.url, &swarm.host) == docker_host;
                if item.error.is_empty() && lost_its_switch(context, &machine) {
                    item.error =
                        format!("its cluster's switch is gone: `rmachine start {name}` plugs it in anew");
                }
                let left = limit.saturating_sub(start.elapsed()).min(Duration::from_secs(5));
                if ask == Ask::StateAndVersion && !machine.driver.has_own_engine() {
                    tell_version(&mut item, &machine.place.dir, left);
                }
            }
        }
        Err(failure) => item.error = failure.message,
    }
    item.took = start.elapsed();
    item
}

fn tell_state(item: &mut Item, machine: &Machine, limit: Duration) {
    match machine.state(limit) {
        Ok(state) => item.state = state,
        Err(failure) => item.error = failure.message,
    }
}

fn tell_version(item: &mut Item, keys: &Path, limit: Duration) {
    match engine_version(&item.url, keys, limit) {
        Ok(version) => item.version = format!("v{version}"),
        Err(failure) => item.error = failure.message,
    }
}

fn show(format: &str, items: &[&Item], all: &[Item]) -> Result<String, Failure> {
    let (header, format) = match format.strip_prefix("table") {
        Some(rest) => (true, rest),
        None => (false, format),
    };
    let format = format.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
    let template = Template::parse(&format).map_err(|error| Failure::new(error.to_string()))?;
    let fill =
        |value: &Value| template.fill(value, Missing::Error).map_err(|error| Failure::new(error.to_string()));
    let mut text = String::new();
    if header {
        text.push_str(&fill(&headers())?);
        text.push('\n');
    }
    for item in items {
        text.push_str(&fill(&fields(item, all))?);
        text.push('\n');
    }
    if !header {
        return Ok(text);
    }
    let lines: Vec<Vec<String>> =
        text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    Ok(align(&lines))
}

fn headers() -> Value {
    json!({
        "Name": "NAME", "Active": "ACTIVE", "ActiveHost": "ACTIVE_HOST", "ActiveSwarm": "ACTIVE_SWARM",
        "DriverName": "DRIVER", "State": "STATE", "URL": "URL", "SwarmOptions": "SWARM_OPTIONS",
        "Swarm": "SWARM", "EngineOptions": "ENGINE_OPTIONS", "Error": "ERRORS",
        "DockerVersion": "DOCKER", "ResponseTime": "RESPONSE",
    })
}

fn fields(item: &Item, all: &[Item]) -> Value {
    json!({
        "Name": item.name,
        "Active": match (item.active_swarm, item.active_host) {
            (true, _) => "* (swarm)",
            (false, true) => "*",
            (false, false) => "-",
        },
        "ActiveHost": item.active_host,
        "ActiveSwarm": item.active_swarm,
        "DriverName": item.driver,
        "State": item.state,
        "URL": item.url,
        "SwarmOptions": item.options.swarm_options,
        "Swarm": swarm(item, all),
        "EngineOptions": item.options.engine_options,
        "Error": item.error.replace(['\n', '\t'], " "),
        "DockerVersion": item.version,
        "ResponseTime": go_duration(item.took),
    })
}

/// What stands in the column SWARM.
fn swarm(item: &Item, all: &[Item]) -> String {
    let master = master(item, all).unwrap_or_default();
    if item.options.swarm_options.master { format!("{master} (master)") } else { master.to_owned() }
}

/// Who leads the item's swarm: the master under the same discovery URL.
fn master<'a>(item: &Item, all: &'a [Item]) -> Option<&'a str> {
    let discovery = &item.options.swarm_options.discovery;
    let leads = |other: &&Item| {
        let options = &other.options.swarm_options;
        options.master && options.discovery == *discovery
    };
    (!discovery.is_empty()).then(|| all.iter().find(leads)).flatten().map(|master| master.name.as_str())
}

/// The URL of an engine with the port of the swarm it leads.
fn swarm_url(url: &str, swarm_host: &str) -> String {
    let port = swarm_host.rsplit(':').next().unwrap_or_default();
    url.rsplit_once(':').map_or_else(String::new, |(host, _)| format!("{host}:{port}"))
}

/// Whole milliseconds as Go prints a duration.
fn go_duration(duration: Duration) -> String {
    let ms = duration.as_millis();
    let seconds = |ms: u128| {
        format!("{:.3}", ms as f64 / 1000.0).trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match ms {
        0 => "0s".into(),
        1..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{}s", seconds(ms)),
        _ => format!("{}m{}s", ms / 60_000, seconds(ms % 60_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_the_urls_of_swarms_are_docker_machines() {
        let shown = [0, 12, 1234, 2000, 61_500].map(|ms| go_duration(Duration::from_millis(ms)));
        assert_eq!(shown, ["0s", "12ms", "1.234s", "2s", "1m1.5s"]);
        assert_eq!(swarm_url("tcp://192.0.2.1:2376", "tcp://0.0.0.0:3376"), "tcp://192.0.2.1:3376");
    }
}
