//! `rmachine ls`: every machine as it is now, within the time-out.

mod filter;

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use filter::Filters;
use go_template::{Missing, Template};
use machine_types::{HostOptions, MachineName, State};
use serde_json::{Value, json};

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

/// One line of the list.
pub(crate) struct Item {
    pub(crate) name: MachineName,
    pub(crate) active: bool,
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
        print!("{lines}");
        return Ok(ExitCode::SUCCESS);
    }
    let format = args.format.as_deref().unwrap_or(DEFAULT_FORMAT);
    let with_version = !args.quiet && (format.contains(".DockerVersion") || format == "json");
    let limit = Duration::from_secs(args.timeout);
    let mut items = list(context, &names, limit, with_version);
    items.retain(|item| filters.accept(item));
    if args.quiet {
        items.iter().for_each(|item| println!("{}", item.name));
    } else if format == "json" {
        let values: Vec<Value> = items.iter().map(|item| fields(item, &items)).collect();
        println!("{}", Value::Array(values));
    } else {
        print!("{}", show(format, &items)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Looks at all these machines at once.
pub(crate) fn list(
    context: &Context,
    names: &[MachineName],
    limit: Duration,
    with_version: bool,
) -> Vec<Item> {
    let docker_host = std::env::var("DOCKER_HOST").unwrap_or_default();
    let look = |name: &MachineName| look(context, name, limit, with_version, &docker_host);
    // A few threads each take every n-th machine: most of the time is spent waiting for answers.
    let workers = names.len().clamp(1, 16);
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

fn look(
    context: &Context,
    name: &MachineName,
    limit: Duration,
    with_version: bool,
    docker_host: &str,
) -> Item {
    let start = Instant::now();
    let mut item = Item {
        name: name.clone(),
        active: false,
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
                item.active = !docker_host.is_empty() && item.url == docker_host;
                let left = limit.saturating_sub(start.elapsed()).min(Duration::from_secs(5));
                if with_version && !machine.driver.has_own_engine() {
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

fn show(format: &str, items: &[Item]) -> Result<String, Failure> {
    let (header, format) = match format.strip_prefix("table ") {
        Some(rest) => (true, rest),
        None => (false, format),
    };
    let format = format.replace("\\t", "\t").replace("\\n", "\n");
    let template = Template::parse(&format).map_err(|error| Failure::new(error.to_string()))?;
    let fill =
        |value: &Value| template.fill(value, Missing::Error).map_err(|error| Failure::new(error.to_string()));
    let mut text = String::new();
    if header {
        text.push_str(&fill(&headers())?);
        text.push('\n');
    }
    for item in items {
        text.push_str(&fill(&fields(item, items))?);
        text.push('\n');
    }
    if !text.contains('\t') {
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
        "Active": if item.active { "*" } else { "-" },
        "ActiveHost": item.active,
        "ActiveSwarm": false,
        "DriverName": item.driver,
        "State": item.state,
        "URL": item.url,
        "SwarmOptions": item.options.swarm_options,
        "Swarm": swarm(item, all),
        "EngineOptions": item.options.engine_options,
        "Error": item.error.replace(['\n', '\t'], " "),
        "DockerVersion": item.version,
        "ResponseTime": format!("{:.3}s", item.took.as_secs_f64()),
    })
}

/// The master of the item's cluster: whoever leads under the same discovery URL.
fn swarm(item: &Item, all: &[Item]) -> String {
    let own = &item.options.swarm_options;
    if own.discovery.is_empty() {
        return String::new();
    }
    if own.master {
        return format!("{} (master)", item.name);
    }
    let leads = |other: &&Item| {
        let options = &other.options.swarm_options;
        options.master && options.discovery == own.discovery
    };
    all.iter().find(leads).map(|master| master.name.to_string()).unwrap_or_default()
}
