//! `rmachine regenerate-certs` and `provision`: new keys and settings into a machine that runs, over
//! ssh, so that it works even when its certificate has run out.

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use machine_pki::Certificate;
use machine_ssh::{CopyError, Session};
use machine_types::State;
use time::OffsetDateTime;

use crate::cluster::keys::renewed_member;
use crate::commands::create::{ignition, own_keys};
use crate::commands::each;
use crate::commands::power::{answers, locked};
use crate::commands::show::Many;
use crate::commands::ssh::{runtime, ssh_failure, target};
use crate::context::Context;
use crate::failure::Failure;
use crate::keys::{renew_client, server_pair, store_keys};
use crate::machine::{Machine, names_or_default};
use crate::progress::{Printer, Silent};

/// Flags of `regenerate-certs`.
#[derive(Debug, Args)]
pub(crate) struct Regenerate {
    /// Names of machines [default: default]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    force: bool,
    /// Also make a new certificate for the client
    #[arg(long)]
    client_certs: bool,
}

const RESTART_LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn regenerate(context: &Context, args: &Regenerate) -> Result<ExitCode, Failure> {
    let names = names_or_default(context, &args.names)?;
    if !args.force && !confirmed()? {
        return Ok(ExitCode::SUCCESS);
    }
    if args.client_certs {
        renew_client(context)?;
    }
    each(&names, |name| {
        let (mut machine, _lock) = locked(context, name)?;
        must_run(&machine)?;
        renew(context, &mut machine, true)?;
        Printer::new(name).step("has a new certificate");
        Ok(())
    })
}

pub(crate) fn provision(context: &Context, args: &Many) -> Result<ExitCode, Failure> {
    each(&names_or_default(context, &args.names)?, |name| {
        let (mut machine, _lock) = locked(context, name)?;
        must_run(&machine)?;
        renew(context, &mut machine, false)?;
        Printer::new(name).step("is provisioned");
        Ok(())
    })
}

/// Whether the machine's certificate should be replaced: less than a third of its life is left.
pub(crate) fn is_due(machine: &Machine) -> bool {
    let read = |file: &str| std::fs::read_to_string(machine.place.dir.join(file)).unwrap_or_default();
    !machine.driver.has_own_engine()
        && Certificate::read(&read("server.pem"), &read("ca.pem"))
            .is_ok_and(|cert| cert.is_old(OffsetDateTime::now_utc()))
}

/// Whether the machine's certificate is without a name or address that the machine has by now.
pub(crate) fn lacks_names(machine: &Machine) -> bool {
    let read = |file: &str| std::fs::read_to_string(machine.place.dir.join(file)).unwrap_or_default();
    !machine.driver.has_own_engine()
        && Certificate::read(&read("server.pem"), &read("ca.pem"))
            .is_ok_and(|cert| !cert.covers(&certificate_names(machine)))
}

/// Brings keys and settings into the machine, new ones if they are due or with `renew` in any case.
pub(crate) fn renew(context: &Context, machine: &mut Machine, renew: bool) -> Result<(), Failure> {
    if renew {
        let (ca, _) = store_keys(context)?;
        server_pair(&machine.place.dir, &ca, &certificate_names(machine), true)?;
    }
    let keys = own_keys(context, machine)?;
    let extra = (!machine.record.host_options.ignition.is_empty())
        .then(|| ignition::read(&context.store.root().join(&machine.record.host_options.ignition)))
        .transpose()?;
    let config = ignition::whole(machine, &keys, extra.as_ref())?;
    if machine.driver.has_own_ssh() {
        // Such a host is provisioned by what created it.
        machine.drive(context, &Silent, RESTART_LIMIT, |driver, session| {
            driver.create(session, config.as_bytes())
        })?;
        return answers(context, machine);
    }
    machine_store::write_atomic(
        &machine.place.dir.join(machine_driver_qemu::files::CONFIG),
        config.as_bytes(),
        0o600,
    )?;
    let settings = machine_core::ignition::daemon_json(
        &machine.record.driver_name,
        &machine.record.host_options.engine_options,
        ignition::engine_port(machine),
    );
    let mut files = vec![
        ("/etc/docker/ca.pem", keys.ca.clone(), 0o644),
        ("/etc/docker/server-key.pem", keys.server.key.clone(), 0o600),
        ("/etc/docker/server.pem", keys.server.cert.clone(), 0o644),
        ("/etc/docker/daemon.json", format!("{settings:#}\n"), 0o644),
    ];
    if renew {
        files.extend(renewed_member(context, machine)?);
    }
    let mut target = target(machine)?;
    target.user = "root".into();
    let runtime = runtime()?;
    let outcome = runtime.block_on(push(&target, &files));
    runtime.shutdown_background();
    outcome?;
    answers(context, machine)
}

pub(crate) fn certificate_names(machine: &Machine) -> Vec<String> {
    let mut names = vec![machine.record.name.to_string()];
    names.extend(machine.driver.certificate_names());
    names.extend(machine.record.host_options.auth_options.server_cert_sans.iter().cloned());
    names
}

async fn push(target: &machine_ssh::Target, files: &[(&str, String, u32)]) -> Result<(), Failure> {
    let session = Session::connect(target).await.map_err(|error| ssh_failure(&error))?;
    let copy = |error: CopyError| Failure::because("could not bring the keys into the machine", &error);
    let remote = session.files().await.map_err(copy)?;
    for (path, contents, mode) in files {
        remote.write(path, contents.as_bytes(), *mode).await.map_err(copy)?;
    }
    let restart = session.output("systemctl restart docker.service");
    let (exit, _, errors) = tokio::time::timeout(RESTART_LIMIT, restart)
        .await
        .map_err(|_| {
            Failure::new(format!("the engine did not restart within {} s", RESTART_LIMIT.as_secs()))
        })?
        .map_err(|error| ssh_failure(&error))?;
    if exit.code() != 0 {
        let said = String::from_utf8_lossy(&errors).trim().to_owned();
        return Err(Failure::new(format!("the engine did not restart: {said}"))
            .hint("see `rmachine ssh NAME journalctl -u docker.service`"));
    }
    session.close().await;
    Ok(())
}

fn must_run(machine: &Machine) -> Result<(), Failure> {
    if machine.driver.has_own_engine() {
        return Err(Failure::elder("hosts without a driver cannot be provisioned"));
    }
    if machine.state(Duration::from_secs(10))? == State::Running {
        return Ok(());
    }
    Err(Failure::elder("Host is not running")
        .hint(format!("start it with `rmachine start {}`", machine.record.name)))
}

fn confirmed() -> Result<bool, Failure> {
    eprint!("Regenerate TLS machine certs?  Warning: this is irreversible. (y/n): ");
    let mut answer = String::new();
    let read = std::io::stderr().flush().and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    read.map_err(|error| Failure::because("could not ask", &error))?;
    Ok(answer.to_lowercase().starts_with('y'))
}
