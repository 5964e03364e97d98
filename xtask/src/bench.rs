//! `cargo xtask bench NAME`: ours and the elder on the same work, alternating in one run.
//!
//! A benchmark is a program of its own (a crate of its area) or a module here; this verb builds it,
//! puts the elders within its reach and hands its figures through.

mod boot;
mod create;
mod footprint;
mod guest;

use anyhow::Result;

use crate::progress::Progress;
use crate::{cargo, image, setup};

/// Flags of `bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which benchmark
    #[arg(value_enum)]
    name: Name,
    /// Print one JSON object of named figures instead of a table
    #[arg(long)]
    json: bool,
    /// Passed on to the benchmark
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// Guest time until every API answers, beside guest time to PID 1
    Boot,
    /// Size of the image and memory of a machine, against their limits
    Footprint,
    /// `rmachine create` beside a bare boot of the same kernel, and beside a Debian guest with docker.io
    Create,
    /// The key-value store beside etcd
    Kv,
    /// A thousand simulated machines on a store of three members
    Fleet,
    /// The container engine beside Debian's Docker
    Engine,
}

/// Runs one benchmark.
pub(crate) fn run(args: &Args) -> Result<()> {
    match args.name {
        Name::Create => {
            image::run(&image::Args::default())?;
            create::run(args.json, &args.rest)
        }
        Name::Boot => {
            image::run(&image::Args::default())?;
            boot::run(args.json)
        }
        Name::Footprint => {
            setup::run(&setup::Args::default())?;
            let release = image::build(&image::Args::default(), &mut Progress::new())?;
            footprint::run(&release, args.json)
        }
        Name::Kv => program(&["kv-bench", "kvd"], args),
        Name::Fleet => program(&["fleet-sim", "kvd"], args),
        Name::Engine => program(&["engine-bench", "engined", "engine-shim"], args),
    }
}

/// Builds a benchmark and what it measures, as the image has it: static, for its target. Then runs it.
fn program(packages: &[&str], args: &Args) -> Result<()> {
    setup::run(&setup::Args { elders: true })?;
    let target = images::programs::TARGET;
    let mut build = cargo::cargo(["build", "--quiet", "--release", "--target", target]);
    for package in packages {
        build.args(["--package", package]);
    }
    images::Facts::of(&cargo::root()).tell(&mut build);
    cargo::run(build.env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    let built = |name: &str| cargo::target_dir().join(target).join("release").join(name);
    let mut bench = std::process::Command::new(built(packages[0]));
    if args.name == Name::Fleet {
        bench.arg("--start").arg(built("kvd"));
    }
    bench.args(args.json.then_some("--json")).args(&args.rest).env("PATH", setup::path_with_elders());
    cargo::run(&mut bench)
}
