//! Small files that a machine keeps: each is replaced as a whole, and a power cut leaves the old one or
//! the new one, never half of either.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Puts `text` at `path`, with its folder made if it is missing.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    fs::create_dir_all(folder)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let mut file = File::create(&name)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&name, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_and_replaced_and_nothing_is_left_over() {
        let dir = std::env::temp_dir().join(format!("hostos-init-keep-{}", std::process::id()));
        let path = dir.join("deep/file");
        for text in ["one", "two"] {
            replace(&path, text).expect("it is written");
            assert_eq!(fs::read_to_string(&path).expect("there"), text);
        }
        assert_eq!(fs::read_dir(dir.join("deep")).expect("there").count(), 1);
        fs::remove_dir_all(dir).expect("removed");
    }
}
