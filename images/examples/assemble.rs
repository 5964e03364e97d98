//! Builds a release of this checkout (`vm`, or `metal` if asked) as `cargo xtask image` does, for work
//! on the image itself.

use std::path::{Path, PathBuf};

use hostos_api::manifest::Flavor;
use images::{Options, build, programs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("images/ has no parent")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let progress = |text: &str| eprintln!("{text}");
    let programs = programs::build(workspace, &[], &progress)?;
    let metal = std::env::args().nth(1).is_some_and(|flavor| flavor == "metal");
    let flavor = if metal { Flavor::Metal } else { Flavor::Vm };
    let release = build(&Options::for_workspace(workspace, &target, flavor, programs), &progress)?;
    println!("{}", release.dir.display());
    for (name, file) in &release.manifest.files {
        println!("{name:20} {:>10}", file.size);
    }
    for (part, size) in &release.components {
        println!("  {part:20} {size:>10}");
    }
    Ok(())
}
