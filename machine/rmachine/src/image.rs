//! Which image a new machine boots.

use std::path::{Path, PathBuf};

use hostos_api::manifest::MANIFEST_FILE;
use machine_store::Image;

use crate::context::Context;
use crate::failure::Failure;

/// The image asked for, or else: `RMACHINE_IMAGE`, the one built in the checkout that this program
/// belongs to, the newest in the store. `wanted` is a folder or the id of an image in the store.
pub(crate) fn choose(context: &Context, wanted: Option<&str>) -> Result<Image, Failure> {
    let from_env = std::env::var("RMACHINE_IMAGE").ok().filter(|value| !value.is_empty());
    if let Some(wanted) = wanted.map(str::to_owned).or(from_env) {
        let dir = Path::new(&wanted);
        if wanted.contains('/') || dir.join(MANIFEST_FILE).exists() {
            return Ok(Image::add(&context.store, dir)?);
        }
        return Ok(Image::find(&context.store, &wanted)?);
    }
    if let Some(dir) = built_beside(std::env::current_exe().ok().as_deref()) {
        return Ok(Image::add(&context.store, &dir)?);
    }
    if let Some(image) = Image::newest(&context.store)? {
        return Ok(Image::find(&context.store, &image.id)?);
    }
    Err(Failure::new("there is no image to boot machines from")
        .hint("build one with `cargo xtask image`, or name one with `--qemu-image DIR`")
        .code(3))
}

/// The release of the checkout whose target folder holds this program.
fn built_beside(program: Option<&Path>) -> Option<PathBuf> {
    program?.ancestors().skip(1).find_map(|dir| {
        let candidates = [dir.join("image/vm"), dir.join("target/image/vm")];
        candidates.into_iter().find(|release| release.join(MANIFEST_FILE).exists())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_of_the_checkout_is_found_from_its_program() {
        let dir = tempfile::tempdir().expect("a folder");
        let release = dir.path().join("target/image/vm");
        std::fs::create_dir_all(&release).expect("a folder");
        let program = dir.path().join("target/x86_64-unknown-linux-gnu/release/rmachine");
        assert_eq!(built_beside(Some(&program)), None);
        std::fs::write(release.join(MANIFEST_FILE), "{}").expect("a manifest");
        assert_eq!(built_beside(Some(&program)), Some(release));
        assert_eq!(built_beside(None), None);
    }
}
