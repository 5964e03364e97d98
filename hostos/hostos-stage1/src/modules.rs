//! Loads kernel modules from a list that `images` has already ordered by dependency.
//!
//! This one knows neither aliases nor parameters; `modprobe` of the userland does.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};

/// Why a list of modules could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadModulesError {
    /// The list itself.
    #[error("cannot read the module list {}", path.display())]
    ReadList {
        /// The list.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// One module of it.
    #[error("cannot load the kernel module {}", path.display())]
    Load {
        /// The module.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Loads every module that `list` names, one path below `tree` a line, in that order.
///
/// A module that is already there counts as loaded. Returns how many were loaded now.
pub fn load_list(tree: &Path, list: &Path) -> Result<usize, LoadModulesError> {
    let text = fs::read_to_string(list)
        .map_err(|source| LoadModulesError::ReadList { path: list.to_owned(), source })?;
    let mut loaded = 0;
    for name in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        loaded += usize::from(load(&tree.join(name))?);
    }
    Ok(loaded)
}

/// Loads one module file; false if the kernel has it already.
pub fn load(path: &Path) -> Result<bool, LoadModulesError> {
    let fail = |source| LoadModulesError::Load { path: path.to_owned(), source };
    let file = File::open(path).map_err(fail)?;
    match finit_module(&file, c"", ModuleInitFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(errno) => Err(fail(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_list_is_named() {
        let error = load_list(Path::new("/nonexistent"), Path::new("/nonexistent/load.early")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the module list /nonexistent/load.early");
    }
}
