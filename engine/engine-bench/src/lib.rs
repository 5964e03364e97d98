//! Ours and Debian's Docker on the same work, in turn, through the same client.
//!
//! Each engine runs in a network and a mount namespace of its own, with its own folders, and both run during the
//! whole benchmark: every piece of work is done by one and then by the other, so that a busy machine slows both.
//! What is printed is medians, ninth deciles, and the ratio of ours to the elder's beside what we aim for.
//!
//! [`work`] has one file per kind of work, [`figures`] the arithmetic. Nothing here is asynchronous: what is
//! measured is the engine, so the client does one thing at a time.

mod engine;
mod figures;
mod http;
mod images;
mod memory;
mod pair;
mod registry;
mod work;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;

use figures::Report;
use pair::Pair;

/// Compare engined with Debian's Docker and print one table of figures
#[derive(Parser)]
#[command(name = "engine-bench")]
struct Args {
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Fewer rounds and less data: about two minutes
    #[arg(long)]
    quick: bool,
    /// Only these kinds of work, comma separated
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<work::Kind>,
    /// Our engine; default: engined beside this program
    #[arg(long, value_name = "PROGRAM")]
    ours: Option<PathBuf>,
    /// The other engine; default: dockerd in PATH
    #[arg(long, value_name = "PROGRAM", default_value = "dockerd")]
    elder: PathBuf,
    /// Measure ours alone
    #[arg(long)]
    alone: bool,
    /// Where the engines keep their data; on a disk, as fsync is part of the work
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// The program.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    match compare(&args) {
        Ok(report) => {
            println!("{}", if args.json { report.to_json() } else { report.to_table() });
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Result<Report> {
    if !nix::unistd::geteuid().is_root() {
        bail!("engines need root; run this as root");
    }
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    on_a_disk(&parent)?;
    let scratch = tempfile::Builder::new()
        .prefix("engine-bench-")
        .tempdir_in(&parent)
        .with_context(|| format!("could not make a folder in {}", parent.display()))?;
    let ours = match &args.ours {
        Some(program) => program.clone(),
        None => std::env::current_exe().context("where am I?")?.with_file_name("engined"),
    };
    let elder = if args.alone { None } else { Some(args.elder.as_path()) };
    let mut pair = Pair::start(scratch.path(), &ours, elder)?;
    let plan = work::Plan::new(args.quick, scratch.path());
    let mut report = Report::default();
    for kind in work::Kind::ALL.iter().filter(|kind| args.only.is_empty() || args.only.contains(kind)) {
        eprintln!("    {}", kind.title());
        kind.measure(&mut pair, &plan, &mut report)
            .with_context(|| format!("could not measure: {}", kind.title()))?;
    }
    pair.stop();
    Ok(report)
}

/// On a tmpfs an fsync costs nothing, and the figures would be of no use.
fn on_a_disk(dir: &std::path::Path) -> Result<()> {
    let stat =
        nix::sys::statfs::statfs(dir).with_context(|| format!("could not look at {}", dir.display()))?;
    if stat.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC {
        bail!("{} is in memory; choose a folder on a disk with --dir", dir.display());
    }
    Ok(())
}
