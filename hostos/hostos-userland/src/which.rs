//! `which`: where a program would be found.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = args.iter().skip(1).any(|word| word == "-a");
    let mut code = ExitCode::SUCCESS;
    let names: Vec<_> = args.iter().skip(1).filter(|word| *word != "-a" && *word != "-s").collect();
    if names.is_empty() {
        return ExitCode::FAILURE;
    }
    for name in names {
        let found = find(Path::new(name), &path);
        if found.is_empty() {
            code = ExitCode::FAILURE;
        }
        for place in found.iter().take(if all { usize::MAX } else { 1 }) {
            println!("{}", place.display());
        }
    }
    code
}

fn find(name: &Path, path: &std::ffi::OsStr) -> Vec<PathBuf> {
    let places: Vec<PathBuf> = if name.components().count() > 1 {
        vec![name.to_owned()]
    } else {
        std::env::split_paths(path).map(|dir| dir.join(name)).collect()
    };
    places.into_iter().filter(|place| is_program(place)).collect()
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_are_found() {
        let path = OsString::from("/nonexistent:/bin:/usr/bin");
        assert!(!find(Path::new("sh"), &path).is_empty());
        assert!(find(Path::new("no-such-program"), &path).is_empty());
        assert!(find(Path::new("/etc/passwd"), &path).is_empty());
    }
}
