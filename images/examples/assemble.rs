//! Builds the `vm` release of this checkout as `cargo xtask image` does, for work on the image itself.

use std::path::{Path, PathBuf};

use hostos_api::manifest::Flavor;
use images::{Options, build, programs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("images/ has no parent")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let progress = |text: &str| eprintln!("{text}");
    let programs = programs::build(workspace, &progress)?;
    let release = build(&Options::for_workspace(workspace, &target, Flavor::Vm, programs), &progress)?;
    println!("{}\n{:#?}", release.dir.display(), release.manifest.files);
    Ok(())
}
