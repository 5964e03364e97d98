//! Locks between rmachine processes: `flock` on files in `locks/`, freed by the kernel when their
//! holder dies. They lie outside the machines' folders, so that removing a machine keeps its lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::StoreError;

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its drop")] File);

const POLL: Duration = Duration::from_millis(20);

impl Lock {
    /// Waits for a lock up to `limit`, or until `give_up` says so.
    pub(crate) fn take(
        path: &Path,
        what: &str,
        limit: Duration,
        give_up: &dyn Fn() -> bool,
    ) -> Result<Self, StoreError> {
        let write = |source| StoreError::Write { path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(write)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(write(source)),
            }
            if give_up() {
                return Err(StoreError::Interrupted(what.to_owned()));
            }
            if start.elapsed() >= limit {
                return Err(StoreError::Busy { what: what.to_owned(), limit });
            }
            thread::sleep(POLL);
        }
    }
}
