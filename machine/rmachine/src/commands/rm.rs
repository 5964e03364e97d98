//! `rmachine rm`: always works, whatever is left of a machine.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use clap::Args;
use machine_types::MachineName;

use crate::commands::each;
use crate::context::Context;
use crate::failure::Failure;
use crate::machine::{Machine, READY_LIMIT};
use crate::progress::Silent;

/// Flags of `rm`.
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Names of machines
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Remove what is here even if the driver cannot remove the rest; implies -y
    #[arg(long, short)]
    force: bool,
    /// Do not ask
    #[arg(short)]
    yes: bool,
}

pub(crate) fn run(context: &Context, args: &Rm) -> Result<ExitCode, Failure> {
    if !args.force && !args.yes && !confirmed(&args.names)? {
        return Ok(ExitCode::SUCCESS);
    }
    remove(context, &args.names, args.force)
}

/// Removes these machines; with `force` also what their drivers cannot remove.
pub(crate) fn remove(context: &Context, words: &[String], force: bool) -> Result<ExitCode, Failure> {
    let names: Vec<MachineName> = words.iter().filter_map(|word| word.parse().ok()).collect();
    crate::commands::cluster::before_removal(context, &names);
    each(words, |word| {
        let name = &match word.parse::<MachineName>() {
            Ok(name) => name,
            // No machine can have such a name.
            Err(_) if force => return Ok(()),
            Err(_) => return Err(missing(word)),
        };
        if !context.store.exists(name) {
            // Somebody removed the folder by hand; its QEMU does not notice.
            let ended = machine_driver_qemu::sweep_orphans(&context.store.machine(name));
            return if force || ended > 0 { Ok(()) } else { Err(missing(word)) };
        }
        let _lock = context.lock(name)?;
        match (unmake(context, name), force) {
            (Ok(()), _) => {}
            (Err(failure), true) => {
                eprintln!("warning: {}", failure.message);
            }
            (Err(failure), false) => {
                return Err(failure.hint(format!("`rmachine rm -f {name}` removes what is here anyway")));
            }
        }
        context.store.remove(name)?;
        eprintln!("Successfully removed {name}");
        Ok(())
    })
}

/// Ends and removes everything of a machine that is not in its folder.
fn unmake(context: &Context, name: &MachineName) -> Result<(), Failure> {
    match Machine::load(context, name) {
        Ok(mut machine) => {
            let session = machine_core::driver::Session {
                place: &machine.place,
                observer: &Silent,
                cancel: context.cancel(),
                ready_limit: READY_LIMIT,
            };
            Ok(machine.driver.remove(&session)?)
        }
        // Its record is lost or broken, but a QEMU may still run in its folder.
        Err(_) => Ok(machine_driver_qemu::sweep(&context.store.machine(name))?),
    }
}

fn missing(word: &str) -> Failure {
    let why = machine_store::StoreError::NoMachine(word.to_owned());
    Failure::elder(format!("Error removing host \"{word}\": {why}"))
}

fn confirmed(names: &[String]) -> Result<bool, Failure> {
    eprintln!("About to remove {}", names.join(", "));
    eprintln!("WARNING: This action will delete both local reference and remote instance.");
    eprint!("Are you sure? (y/n): ");
    let mut answer = String::new();
    let read = std::io::stderr().flush().and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    read.map_err(|error| Failure::because("could not ask", &error))?;
    Ok(answer.to_lowercase().starts_with('y'))
}
