//! `cargo xtask test` (and `ci`): the gates, then the rings of tests, innermost first.

use anyhow::Result;

use crate::progress::Progress;
use crate::{cargo, docs, image, setup, tidy};

/// Its tests boot machines from the image.
const DRIVER: &str = "binary_id(machine-driver-qemu::it)";

/// Flags of `test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only unit and contract tests
    #[arg(long, conflicts_with = "system")]
    fast: bool,
    /// Only the tests that boot machines
    #[arg(long)]
    system: bool,
    /// Only tests whose name contains this
    filter: Vec<String>,
}

/// Runs what the flags select; the first failing stage ends it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut progress = Progress::new();
    let outcome = stages(args, &mut progress);
    progress.print_table();
    outcome
}

fn stages(args: &Args, progress: &mut Progress) -> Result<()> {
    let all = !args.fast && !args.system;
    progress.stage("setup", || setup::run(&setup::Args { elders: true }))?;
    if all && args.filter.is_empty() {
        gates(progress)?;
    }
    if all || args.fast {
        progress.stage("unit and contract tests", || {
            let others = format!("not {DRIVER}");
            nextest(&["--workspace", "--exclude", "system-tests", "-E", &others], &args.filter)
        })?;
    }
    if all || args.system {
        progress.stage("image", || image::run(&image::Args::default()))?;
        progress.stage("system tests", || {
            let words = ["--package", "system-tests", "--package", "machine-driver-qemu"];
            let on_machines = format!("package(system-tests) or {DRIVER}");
            nextest(&[&words[..], &["-E", &on_machines]].concat(), &args.filter)
        })?;
    }
    Ok(())
}

fn gates(progress: &mut Progress) -> Result<()> {
    progress.stage("format", || cargo::run(&mut cargo::cargo(["fmt", "--all", "--check"])))?;
    progress.stage("tidy", tidy::run)?;
    progress.stage("clippy", || {
        let words = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
        cargo::run(&mut cargo::cargo(words))
    })?;
    progress.stage("docs", || docs::run(&docs::Args { check: true }))
}

fn nextest(selection: &[&str], filter: &[String]) -> Result<()> {
    let mut command = cargo::cargo(["nextest", "run", "--no-fail-fast", "--status-level", "slow"]);
    command.args(selection).args(filter).arg("--no-tests=pass");
    command.env("PATH", setup::path_with_elders()).env("RMACHINE_BIN", image::rmachine());
    // Everything was set up: a test that cannot run is a failure.
    command.env("TESTS_MUST_RUN", "1");
    cargo::run(&mut command)
}
