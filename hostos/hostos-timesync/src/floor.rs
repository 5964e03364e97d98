//! The moment that a clock cannot be before: the build of the image, or the last time that was known
//! to be right.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970, of the release.
const BUILD_DATE: &str = "/usr/lib/build-date";

/// Its time of change is the last right time, where systemd-timesyncd keeps it too.
const KEPT: &str = "/var/lib/systemd/timesync/clock";

/// The moment that this machine's clock cannot be before.
#[must_use]
pub fn floor() -> SystemTime {
    floor_of(Path::new(BUILD_DATE), Path::new(KEPT))
}

fn floor_of(build_date: &Path, kept: &Path) -> SystemTime {
    let text = fs::read_to_string(build_date).unwrap_or_default();
    let built = UNIX_EPOCH + Duration::from_secs(text.trim().parse().unwrap_or(0));
    let kept = kept.metadata().and_then(|meta| meta.modified()).unwrap_or(built);
    // A time decades after the build was never right: it would lock the machine out of the present.
    let sane = kept < built + Duration::from_secs(30 * 365 * 86_400);
    if sane { built.max(kept) } else { built }
}

/// Remembers that it is now at least what the clock shows. Trouble costs only the memory of it.
pub fn keep_floor() {
    keep(Path::new(KEPT));
}

fn keep(path: &Path) {
    let kept = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
        let file = fs::OpenOptions::new().create(true).append(true).open(path)?;
        file.set_modified(SystemTime::now())
    });
    if let Err(error) = kept {
        tracing::debug!(%error, "the time is not kept for the next boot");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_build_and_memory_counts_if_it_can_be() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (build, kept) = (dir.path().join("build"), dir.path().join("var/clock"));
        assert_eq!(floor_of(&build, &kept), UNIX_EPOCH);
        fs::write(&build, "1790000000\n").expect("written");
        let built = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        assert_eq!(floor_of(&build, &kept), built);
        keep(&kept);
        let file = fs::File::options().append(true).open(&kept).expect("it was kept");
        let set = |seconds| file.set_modified(built + Duration::from_secs(seconds)).expect("it is set");
        set(1000);
        assert_eq!(floor_of(&build, &kept), built + Duration::from_secs(1000));
        set(50 * 365 * 86_400);
        assert_eq!(floor_of(&build, &kept), built);
    }
}
