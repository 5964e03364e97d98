//! Turning machines on and off: start, stop, restart, kill.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use machine_core::driver::{Event, Observer};
use machine_types::{MachineName, State};

use crate::commands::show::Many;
use crate::commands::{certs, each};
use crate::context::Context;
use crate::engine;
use crate::failure::Failure;
use crate::keys::keep_client_young;
use crate::machine::{Machine, READY_LIMIT, names_or_default};
use crate::progress::{Printer, Silent};
use crate::switch;

const STATE_LIMIT: Duration = Duration::from_secs(10);
/// A machine that does not answer is what kill is for.
const KILL_LIMIT: Duration = Duration::from_secs(1);
/// From ready to an answer over TLS.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Flags of commands that end with a running machine.
#[derive(Debug, Args)]
pub(crate) struct Power {
    /// Names of machines [default: default]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Seconds that a machine may take until it is ready
    #[arg(long, default_value_t = READY_LIMIT.as_secs(), value_name = "SECONDS")]
    timeout: u64,
}

pub(crate) fn start(context: &Context, args: &Power) -> Result<ExitCode, Failure> {
    let limit = Duration::from_secs(args.timeout);
    let names = names_or_default(context, &args.names)?;
    // Before the first of them brings a new switch.
    let cut_off: Vec<&MachineName> = names.iter().filter(|name| is_cut_off(context, name)).collect();
    each(&names, |name| {
        let (mut machine, _lock) = locked(context, name)?;
        let printer = Printer::new(name);
        let url = machine.driver.engine_url();
        if machine.state(STATE_LIMIT)? == State::Running {
            if !cut_off.contains(&name) {
                return Err(already(name, "running"));
            }
            printer.step("stopping: the switch of its cluster is gone, and it must be plugged in anew");
            machine.drive(context, &printer, limit, |driver, session| driver.stop(session))?;
        }
        printer.step("starting");
        bring_up(context, &mut machine, &printer, limit)?;
        printer.step("started");
        note_new_url(&machine, url.as_deref());
        Ok(())
    })
}

fn is_cut_off(context: &Context, name: &MachineName) -> bool {
    Machine::load(context, name).is_ok_and(|machine| lost_its_switch(context, &machine))
}

/// Whether a machine is to be on a cluster's switch that is not there.
pub(crate) fn lost_its_switch(context: &Context, machine: &Machine) -> bool {
    let record = &machine.record;
    let on_switch = record.driver["Network"] == "cluster";
    let cluster = record.host_options.cluster.as_ref().filter(|_| on_switch);
    cluster.is_some_and(|cluster| !switch::is_there(context, cluster))
}

pub(crate) fn restart(context: &Context, args: &Power) -> Result<ExitCode, Failure> {
    let limit = Duration::from_secs(args.timeout);
    each(&names_or_default(context, &args.names)?, |name| {
        let (mut machine, _lock) = locked(context, name)?;
        let printer = Printer::new(name);
        let url = machine.driver.engine_url();
        printer.step("restarting");
        if let Some(cluster) = &machine.record.host_options.cluster {
            switch::ensure(context, cluster)?;
        }
        if machine.state(STATE_LIMIT)? != State::Stopped {
            machine.drive(context, &printer, limit, |driver, session| driver.restart(session))?;
        }
        bring_up(context, &mut machine, &printer, limit)?;
        printer.step("restarted");
        note_new_url(&machine, url.as_deref());
        Ok(())
    })
}

pub(crate) fn stop(context: &Context, args: &Many) -> Result<ExitCode, Failure> {
    each(&names_or_default(context, &args.names)?, |name| {
        let (mut machine, _lock) = locked(context, name)?;
        if machine.state(STATE_LIMIT)? == State::Stopped {
            return Err(already(name, "stopped"));
        }
        let printer = Printer::new(name);
        printer.step("stopping");
        machine.drive(context, &printer, READY_LIMIT, |driver, session| driver.stop(session))?;
        printer.step("stopped");
        Ok(())
    })
}

pub(crate) fn kill(context: &Context, args: &Many) -> Result<ExitCode, Failure> {
    each(&names_or_default(context, &args.names)?, |name| {
        let (mut machine, _lock) = locked(context, name)?;
        if machine.state(KILL_LIMIT)? == State::Stopped {
            return Err(already(name, "stopped"));
        }
        let printer = Printer::new(name);
        machine.drive(context, &Silent, READY_LIMIT, |driver, session| driver.kill(session))?;
        printer.step("killed");
        Ok(())
    })
}

/// Starts a machine and comes back when its engine answered over TLS.
pub(crate) fn bring_up(
    context: &Context,
    machine: &mut Machine,
    observer: &dyn Observer,
    limit: Duration,
) -> Result<(), Failure> {
    if let Some(cluster) = &machine.record.host_options.cluster {
        switch::ensure(context, cluster)?;
    }
    machine.drive(context, observer, limit, |driver, session| driver.start(session))?;
    machine.drive(context, observer, limit, |driver, session| driver.wait_ready(session))?;
    keep_client_young(context, &machine.place.dir);
    if certs::lacks_names(machine) {
        // Its address was not known when its first certificate was made.
        printer_step(observer, "giving it a certificate for its address");
        certs::renew(context, machine, true)?;
    }
    answers(context, machine)?;
    if certs::is_due(machine) {
        printer_step(observer, "renewing its certificate");
        certs::renew(context, machine, false)?;
    }
    Ok(())
}

/// Waits until the engine answers over TLS. A machine that is ready has it listen at once or soon.
pub(crate) fn answers(context: &Context, machine: &Machine) -> Result<(), Failure> {
    let (false, Some(url)) = (machine.driver.has_own_engine(), machine.driver.engine_url()) else {
        return Ok(());
    };
    let start = Instant::now();
    loop {
        let left = ANSWER_LIMIT.saturating_sub(start.elapsed());
        match engine::get(&url, &machine.place.dir, "/_ping", left.max(Duration::from_secs(1))) {
            Ok(_) => return Ok(()),
            Err(failure) if start.elapsed() >= ANSWER_LIMIT => return Err(failure),
            Err(_) => context.cancel().check()?,
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Tells a user whose shell still points to where the engine was.
fn note_new_url(machine: &Machine, old: Option<&str>) {
    let new = machine.driver.engine_url();
    if let (Some(old), Some(new)) = (old, new)
        && old != new
    {
        let name = &machine.record.name;
        eprintln!("hint: its engine moved to {new}: run `eval $(rmachine env {name})` again");
    }
}

fn printer_step(observer: &dyn Observer, text: &str) {
    observer.notice(Event::Step(text.to_owned()));
}

pub(crate) fn locked(
    context: &Context,
    name: &MachineName,
) -> Result<(Machine, machine_store::Lock), Failure> {
    // An unknown name is told of before anything is waited for or made.
    context.store.load(name)?;
    let lock = context.lock(name)?;
    Ok((Machine::load(context, name)?, lock))
}

fn already(name: &MachineName, state: &str) -> Failure {
    Failure::elder(format!("Machine \"{name}\" is already {state}."))
}
