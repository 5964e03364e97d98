//! `cargo xtask image`: builds the programs of the image and `rmachine`, and assembles a release
//! where the `rmachine` of this checkout finds it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use hostos_api::manifest::Flavor;
use images::{Options, Release, programs};

use crate::progress::Progress;
use crate::{cargo, setup};

/// Flags of `image`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which computers it is for
    #[arg(long, value_enum, default_value_t = FlavorArg::Vm)]
    flavor: FlavorArg,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum FlavorArg {
    /// Virtual machines
    Vm,
    /// Real hardware, and the tree to boot it over PXE
    Metal,
}

impl Default for Args {
    fn default() -> Self {
        Self { flavor: FlavorArg::Vm }
    }
}

/// Builds the release; a second run rebuilds only what changed.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::run(&setup::Args::default())?;
    let mut progress = Progress::new();
    build(args, &mut progress)?;
    progress.print_table();
    Ok(())
}

/// The stages of [`run`], for verbs that have stages of their own.
pub(crate) fn build(args: &Args, progress: &mut Progress) -> Result<Release> {
    let flavor = match args.flavor {
        FlavorArg::Vm => Flavor::Vm,
        FlavorArg::Metal => Flavor::Metal,
    };
    let tell = |what: &str| eprintln!("    {what}");
    let built = progress.stage("programs", || {
        programs::build(&cargo::root(), &["rmachine"], &tell).context("could not build the programs")
    })?;
    let release = progress.stage("release", || {
        let options = Options::for_workspace(&cargo::root(), &cargo::target_dir(), flavor, built);
        images::build(&options, &tell).context("could not assemble the release")
    })?;
    let size: u64 = release.manifest.files.values().map(|file| file.size).sum();
    eprintln!(
        "    kernel {}, {:.1} MB, in {}",
        release.manifest.kernel_version,
        size as f64 / 1e6,
        release.dir.display()
    );
    Ok(release)
}

/// Where [`build`] leaves `rmachine`.
pub(crate) fn rmachine() -> PathBuf {
    cargo::target_dir().join(programs::TARGET).join("release/rmachine")
}
