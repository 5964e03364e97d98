//! `rmachine upgrade`: the next image, and back to the old one if the machine does not get ready.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use machine_types::State;

use crate::commands::each;
use crate::commands::power::{bring_up, locked};
use crate::context::Context;
use crate::failure::Failure;
use crate::image;
use crate::machine::{Machine, READY_LIMIT, names_or_default};
use crate::progress::Printer;

const STATE_LIMIT: Duration = Duration::from_secs(10);

/// Flags of `upgrade`.
#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// Names of machines [default: default]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Image to change to: a folder, or an id or version in the store
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Seconds that a machine may take until it is ready
    #[arg(long, default_value_t = READY_LIMIT.as_secs(), value_name = "SECONDS")]
    timeout: u64,
}

pub(crate) fn run(context: &Context, args: &Upgrade) -> Result<ExitCode, Failure> {
    let names = names_or_default(context, &args.names)?;
    for name in &names {
        if Machine::load(context, name)?.driver.image().is_none() {
            return Err(Failure::new(format!(
                "machine `{name}` boots no image of ours: it cannot be upgraded"
            )));
        }
    }
    let image = image::choose(context, args.image.as_deref())?.id;
    let limit = Duration::from_secs(args.timeout);
    each(&names, |name| {
        let (mut machine, _lock) = locked(context, name)?;
        let printer = Printer::new(name);
        let old = machine.driver.image().unwrap_or_default();
        if old == image {
            printer.step(&format!("has image {image} already"));
            // As after any other upgrade, it runs.
            if machine.state(STATE_LIMIT)? != State::Running {
                bring_up(context, &mut machine, &printer, limit)?;
            }
            return Ok(());
        }
        printer.step(&format!("changing from image {old} to {image}"));
        let Err(failure) = switch(context, &mut machine, &printer, limit, &image) else {
            printer.step(&format!("runs image {image}"));
            return Ok(());
        };
        printer.step(&format!("failed: {}", failure.message));
        printer.step(&format!("changing back to image {old}"));
        switch(context, &mut machine, &printer, limit, &old).map_err(|worse| {
            Failure::new(format!(
                "machine `{name}` gets ready neither with the new image nor with the old one: {}",
                worse.message
            ))
            .hint(format!("see `rmachine logs {name}`"))
        })?;
        Err(Failure::new(format!("machine `{name}` runs its old image {old} again: {}", failure.message)))
    })
}

fn switch(
    context: &Context,
    machine: &mut Machine,
    printer: &Printer,
    limit: Duration,
    image: &str,
) -> Result<(), Failure> {
    if machine.state(STATE_LIMIT)? != State::Stopped {
        machine.drive(context, printer, limit, |driver, session| driver.stop(session))?;
    }
    machine.drive(context, printer, limit, |driver, session| driver.set_image(session, image).map(drop))?;
    bring_up(context, machine, printer, limit)
}
