//! Shell patterns that stand for paths which exist.

use std::path::{Path, PathBuf};

pub(crate) use unit_file::glob::{is_pattern, matches};

/// Does any path match the absolute pattern?
pub(crate) fn any_exists(pattern: &str) -> bool {
    fn below(dir: &Path, parts: &[&str]) -> bool {
        let Some((first, rest)) = parts.split_first() else { return true };
        if !is_pattern(first) {
            let path: PathBuf = dir.join(first);
            return path.exists() && below(&path, rest);
        }
        let Ok(entries) = std::fs::read_dir(dir) else { return false };
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            (!name.starts_with('.') || first.starts_with('.'))
                && matches(first, &name)
                && below(&entry.path(), rest)
        })
    }
    let parts: Vec<_> = pattern.split('/').filter(|part| !part.is_empty()).collect();
    below(Path::new("/"), &parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_may_stand_in_any_part_of_a_path() {
        assert!(any_exists("/p*c/self/st?tus") && !any_exists("/proc/self/nothing*"));
    }
}
