//! The shim's program, sealed in memory.
//!
//! A container can get hold of the file behind `/proc/PID/exe` of the process
//! that enters it. So shims never run from a file somebody could write: the
//! program is copied once into a memory file whose contents are sealed.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use engine_shim::sys;

/// Where the shim's program comes from.
#[derive(Debug, Clone, Default)]
pub enum ShimProgram {
    /// `engine-shim` beside the running program, or above it (test binaries);
    /// else the running program itself, called by that name (hostbox).
    #[default]
    Sibling,
    File(PathBuf),
}

/// The sealed copy.
#[derive(Debug)]
pub(crate) struct SealedProgram {
    memory: OwnedFd,
}

impl SealedProgram {
    pub(crate) fn load(program: &ShimProgram) -> io::Result<Self> {
        let path = match program {
            ShimProgram::File(path) => path.clone(),
            ShimProgram::Sibling => sibling()?,
        };
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.read_to_end(&mut bytes)?;
        Ok(Self { memory: sys::sealed_memory("engine-shim", &bytes)? })
    }

    /// A path to execute, valid in this process and at the exec of its children.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.memory.as_raw_fd()))
    }
}

fn sibling() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.ancestors().skip(1).take(2).map(|dir| dir.join("engine-shim"));
    Ok(beside.into_iter().find(|path: &PathBuf| is_file(path)).unwrap_or(own))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    #[test]
    fn nobody_can_write_to_the_copy() {
        let program = SealedProgram::load(&ShimProgram::File("/bin/true".into())).unwrap();
        let written =
            OpenOptions::new().write(true).open(program.path()).and_then(|mut file| file.write(b"evil"));
        assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::EPERM));
        let status = std::process::Command::new(program.path()).arg0_true();
        assert!(status);
    }

    trait Arg0 {
        fn arg0_true(&mut self) -> bool;
    }

    impl Arg0 for std::process::Command {
        fn arg0_true(&mut self) -> bool {
            use std::os::unix::process::CommandExt;
            self.arg0("true").status().unwrap().success()
        }
    }
}
