//! `rmachine logs`: what a machine's console, its reports and its QEMU said since the last start.

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use machine_driver_qemu::files;

use crate::context::Context;
use crate::failure::Failure;
use crate::machine::{Machine, name_or_default};

/// Flags of `logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Name of the machine [default: default]
    name: Option<String>,
    /// Which log
    #[arg(long, short, value_enum, default_value = "serial")]
    log: Which,
    /// Go on as it grows, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// The console
    Serial,
    /// The stages that the machine reported, one JSON object a line
    Stages,
    /// The emulator
    Qemu,
}

pub(crate) fn run(context: &Context, args: &Logs) -> Result<ExitCode, Failure> {
    let name = name_or_default(context, args.name.as_ref())?;
    let machine = Machine::load(context, &name)?;
    let file = match args.log {
        Which::Serial => files::SERIAL,
        Which::Stages => files::REPORT,
        Which::Qemu => files::QEMU_LOG,
    };
    let path = machine.place.dir.join(file);
    let mut log = File::open(&path).map_err(|error| {
        Failure::because(format!("machine `{name}` has no such log"), &error)
            .hint("a machine has logs once it was started")
    })?;
    let printed = if args.follow { follow(context, &mut log) } else { print(&mut log) };
    match printed {
        // The reader had enough, as `head` has.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::because(format!("could not print {}", path.display()), &error)),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

fn print(log: &mut File) -> io::Result<()> {
    let mut bytes = Vec::new();
    log.read_to_end(&mut bytes)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&bytes)?;
    stdout.flush()
}

fn follow(context: &Context, log: &mut File) -> io::Result<()> {
    while !context.cancel().is_cancelled() {
        print(log)?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
