//! `rmachine create`: from nothing, or from where an interrupted create stopped, to a machine whose
//! engine answers over TLS. What fails is taken back.

pub(crate) mod cluster;
mod digitalocean;
mod flags;
mod generic;
pub(crate) mod ignition;
mod qemu;

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

pub(crate) use flags::Create;
use machine_core::driver::Driver;
use machine_driver_generic::{GenericDriver, NoneDriver};
use machine_driver_qemu::{QemuConfig, QemuDriver, files};
use machine_types::{AuthOptions, CONFIG_VERSION, HostOptions, MachineName, Progress, Record};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::commands::certs::certificate_names;
use crate::commands::each;
use crate::commands::power::bring_up;
use crate::context::Context;
use crate::failure::Failure;
use crate::image;
use crate::keys::{MachineKeys, machine_keys, sync_store_keys};
use crate::machine::Machine;
use crate::progress::Printer;

const DRIVERS: [&str; 4] =
    [machine_driver_qemu::NAME, machine_driver_digitalocean::NAME, GenericDriver::NAME, NoneDriver::NAME];
/// How docker-machine begins to tell that flags of a driver are wrong.
const WRONG_FLAGS: &str = "Error setting machine configuration from flags provided";
/// Files of a machine's folder that are larger are no keys.
const LARGEST_KEY: u64 = 64 * 1024;

pub(crate) fn run(context: &Context, args: &Create) -> Result<ExitCode, Failure> {
    if !DRIVERS.contains(&args.driver.as_str()) {
        return Err(no_driver(&args.driver));
    }
    let names = args.check()?;
    // Broken input is told of before anything is made.
    let extra = args.ignition.as_deref().map(ignition::read).transpose()?;
    // An image is brought into the store once, not by each of the threads.
    let image = match args.driver.as_str() {
        machine_driver_qemu::NAME => Some(image::choose(context, args.qemu.image.as_deref())?.id),
        _ => None,
    };
    let plan = cluster::plan(context, args, &names)?;
    let (image, plan) = (image.as_deref(), plan.as_ref());
    let done = each(&names, |name| one(context, args, name, image, extra.as_ref(), plan))?;
    if let Some(plan) = plan {
        cluster::settle(context, plan)?;
    }
    Ok(done)
}

fn one(
    context: &Context,
    args: &Create,
    name: &MachineName,
    image: Option<&str>,
    extra: Option<&hostos_config::Config>,
    plan: Option<&cluster::Plan>,
) -> Result<(), Failure> {
    let _lock = context.lock(name)?;
    let printer = Printer::new(name);
    let mut machine = begin(context, args, name, image, &printer)?;
    let result = finish(context, args, &mut machine, extra, plan, &printer);
    match result {
        Ok(()) => {
            printer.step("ready");
            eprintln!("hint: point your docker client to it with `eval $(rmachine env {name})`");
            Ok(())
        }
        Err(failure) => Err(take_back(context, machine, failure)),
    }
}

/// A new record, or the one of an interrupted create.
fn begin(
    context: &Context,
    args: &Create,
    name: &MachineName,
    image: Option<&str>,
    printer: &Printer,
) -> Result<Machine, Failure> {
    if context.store.is_barely_begun(name) {
        context.store.remove(name)?;
    }
    if context.store.exists(name) {
        let found = context.store.load(name).map_err(|error| {
            Failure::from(error).hint(format!("remove what is left of it with `rmachine rm -f {name}`"))
        })?;
        if found.is_complete() {
            return Err(Failure::elder(format!("Docker machine \"{name}\" already exists"))
                .hint(format!("remove it with `rmachine rm {name}`, or choose another name")));
        }
        if found.driver_name != args.driver {
            return Err(Failure::new(format!(
                "an interrupted create of \"{name}\" used the driver `{}`, not `{}`",
                found.driver_name, args.driver
            ))
            .hint(format!("finish it with that driver, or `rmachine rm {name}` first")));
        }
        printer.step("going on with an interrupted create");
        let mut machine = Machine::of(context, found)?;
        if args.driver == GenericDriver::NAME {
            // Where our programs and the user's key are is not kept.
            machine.driver = Box::new(args.generic.driver(name)?);
            args.generic.bring_key(&machine)?;
        }
        return Ok(machine);
    }
    // A machine of that name whose folder was removed by hand must not run on beside the new one.
    machine_driver_qemu::sweep_orphans(&context.store.machine(name));
    let id = Uuid::new_v4();
    let driver = new_driver(args, name, id, image)?;
    let record = Record {
        config_version: CONFIG_VERSION,
        name: name.clone(),
        id,
        created: OffsetDateTime::now_utc().format(&Rfc3339).expect("the present has a date"),
        progress: Progress::Recorded,
        driver_name: args.driver.clone(),
        driver: driver.data(),
        host_options: HostOptions {
            engine_options: args.engine_options(),
            swarm_options: args.swarm_options(),
            auth_options: auth_options(context, name, &args.tls_san),
            ignition: String::new(),
            cluster: args.cluster_name(),
        },
    };
    let mut machine = Machine::of(context, record)?;
    // It knows more than what is kept of it.
    machine.driver = driver;
    // The store's own folder must be there to look at its disk; a refused create leaves nothing else.
    context.store.make_dir(context.store.root())?;
    machine.driver.check(&machine_core::driver::Session {
        place: &machine.place,
        observer: printer,
        cancel: context.cancel(),
        ready_limit: args.ready_limit(),
    })?;
    context.store.save(&machine.record)?;
    if args.driver == GenericDriver::NAME
        && let Err(failure) = args.generic.bring_key(&machine)
    {
        return Err(take_back(context, machine, failure));
    }
    Ok(machine)
}

fn new_driver(
    args: &Create,
    name: &MachineName,
    id: Uuid,
    image: Option<&str>,
) -> Result<Box<dyn Driver>, Failure> {
    match args.driver.as_str() {
        machine_driver_qemu::NAME => {
            let config = QemuConfig::new(name.as_str(), id, image.unwrap_or_default());
            Ok(Box::new(QemuDriver::new(args.qemu.apply(config, args.cluster_name().as_ref())?)))
        }
        NoneDriver::NAME => match args.url.as_deref() {
            Some(url) if !url.is_empty() => Ok(Box::new(NoneDriver::new(url))),
            _ => Err(Failure::elder(format!(
                "{WRONG_FLAGS}: --url option is required when no driver is selected"
            ))),
        },
        GenericDriver::NAME => Ok(Box::new(args.generic.driver(name)?)),
        machine_driver_digitalocean::NAME => Ok(Box::new(args.digitalocean.driver(name, id)?)),
        other => Err(no_driver(other)),
    }
}

fn no_driver(name: &str) -> Failure {
    Failure::elder(format!("Driver \"{name}\" not found."))
        .hint(format!("the drivers are {}", DRIVERS.join(", ")))
}

/// Every step from the record to the answer; each finds done what is done.
fn finish(
    context: &Context,
    args: &Create,
    machine: &mut Machine,
    extra: Option<&hostos_config::Config>,
    plan: Option<&cluster::Plan>,
    printer: &Printer,
) -> Result<(), Failure> {
    if machine.driver.has_own_engine() {
        // Its keys are its owner's; only ours are kept beside the record.
        own_keys(context, machine)?;
        sync_keys(context, &machine.place.dir)?;
        return reached(context, machine, Progress::Done);
    }
    if let Some(extra) = extra {
        let path = machine.place.dir.join(ignition::EXTRA);
        machine_store::write_unsynced(&path, extra.to_json().as_bytes(), 0o600)?;
        machine.record.host_options.ignition = context.relative(&path);
    }
    let keys = own_keys(context, machine)?;
    machine.record.progress = Progress::Keys;
    printer.step("keys and certificates are made");
    context.cancel().check()?;
    if let Some(plan) = plan {
        cluster::bring(context, plan, machine, printer)?;
    }
    let config = ignition::whole(machine, &keys, extra)?;
    reached(context, machine, Progress::Driver)?;
    let limit = args.ready_limit();
    machine.drive(context, printer, limit, |driver, session| driver.create(session, config.as_bytes()))?;
    let dir = machine.place.dir.clone();
    // The disk has time for the keys while the machine starts.
    let (up, synced) = thread::scope(|scope| {
        let sync = scope.spawn(|| sync_keys(context, &dir));
        let up = bring_up(context, machine, printer, limit);
        (up, sync.join().unwrap_or(Ok(())))
    });
    up?;
    synced?;
    reached(context, machine, Progress::Done)?;
    match plan {
        Some(plan) => cluster::arrive(context, args.swarm_discovery(), plan, machine, printer),
        None => Ok(()),
    }
}

/// A machine counts as made once its keys, and those it trusts, outlive a crash.
fn sync_keys(context: &Context, dir: &Path) -> Result<(), Failure> {
    machine_store::sync_files(dir, LARGEST_KEY)?;
    sync_store_keys(context)
}

pub(crate) fn own_keys(context: &Context, machine: &Machine) -> Result<MachineKeys, Failure> {
    machine_keys(context, &machine.place, &certificate_names(machine), machine.driver.has_own_ssh())
}

fn reached(context: &Context, machine: &mut Machine, progress: Progress) -> Result<(), Failure> {
    machine.record.progress = progress;
    Ok(context.store.save(&machine.record)?)
}

/// Removes what a failed create made, keeping only the console's log outside.
fn take_back(context: &Context, mut machine: Machine, mut failure: Failure) -> Failure {
    let name = machine.record.name.clone();
    if let Some(log) = keep_serial(context, &machine)
        && failure.code != 130
    {
        let kept = format!("its console said more: {log}");
        failure.hint = if failure.hint.is_empty() { kept } else { format!("{}\nhint: {kept}", failure.hint) };
    }
    // The switch may be thrown already, and this must still happen.
    let session = machine_core::driver::Session {
        place: &machine.place,
        observer: &crate::progress::Silent,
        cancel: &machine_core::driver::Cancel::default(),
        ready_limit: Duration::ZERO,
    };
    let removed = machine.driver.remove(&session).map_err(Failure::from);
    let gone = removed.and_then(|()| Ok(context.store.remove(&name)?));
    if let Err(left) = gone {
        failure.message.push_str(&format!("\nerror: what was made is still there: {}", left.message));
        failure.hint = format!("remove it with `rmachine rm -f {name}`");
    }
    failure
}

fn keep_serial(context: &Context, machine: &Machine) -> Option<String> {
    let log = std::fs::read(machine.place.dir.join(files::SERIAL)).ok().filter(|log| !log.is_empty())?;
    let dir = context.store.failed();
    context.store.make_dir(&dir).ok()?;
    let path = dir.join(format!("{}.serial.log", machine.record.name));
    machine_store::write_atomic(&path, &log, 0o600).ok()?;
    Some(path.display().to_string())
}

fn auth_options(context: &Context, name: &MachineName, sans: &[String]) -> AuthOptions {
    let certs = &context.certs;
    let dir = format!("machines/{name}");
    AuthOptions {
        cert_dir: "certs".into(),
        ca_cert_path: context.relative(&certs.ca),
        ca_private_key_path: context.relative(&certs.ca_key),
        client_cert_path: context.relative(&certs.client),
        client_key_path: context.relative(&certs.client_key),
        server_cert_path: format!("{dir}/server.pem"),
        server_key_path: format!("{dir}/server-key.pem"),
        store_path: dir,
        server_cert_sans: sans.to_vec(),
    }
}
