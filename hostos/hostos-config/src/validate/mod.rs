//! The rules that a config of the right shape must still keep, one file for each section.
//!
//! The rules are those of the elder's validator; where releases of it differ, the newest counts.

mod disks;
mod duplicates;
mod luks;
mod nodes;
mod resources;
mod systemd;
mod unit_text;
mod url;

use std::collections::BTreeSet;

use crate::diagnostic::Diagnostic;
use crate::schema::NEWEST_MINOR;
use crate::types::Config;

/// Checks a config that was built or merged rather than parsed; places are not known.
#[must_use]
pub fn validate(config: &Config) -> Vec<Diagnostic> {
    check(config, NEWEST_MINOR)
}

/// Everything that is wrong with a config by the rules of `3.minor`.
pub(crate) fn check(config: &Config, minor: u32) -> Vec<Diagnostic> {
    let mut findings = Findings { minor, found: Vec::new() };
    resources::check(&mut findings, &config.ignition);
    duplicates::check(&mut findings, config);
    nodes::check(&mut findings, config);
    disks::check(&mut findings, &config.storage);
    luks::check(&mut findings, &config.storage.luks);
    systemd::check(&mut findings, &config.systemd);
    findings.found
}

/// What has been found so far.
struct Findings {
    minor: u32,
    found: Vec<Diagnostic>,
}

impl Findings {
    fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.found.push(Diagnostic::error(path, message));
    }

    fn error_with(&mut self, path: impl Into<String>, message: impl Into<String>, hint: &str) {
        self.found.push(Diagnostic::error(path, message).hint(hint));
    }

    fn warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.found.push(Diagnostic::warning(path, message));
    }

    /// A path that must be absolute and in its simplest form.
    fn path(&mut self, at: &str, path: &str) {
        if path.is_empty() {
            self.error(at, "the path is missing");
        } else if !path.starts_with('/') {
            self.error(at, format!("the path `{path}` is not absolute"));
        } else if !is_clean(path) {
            let hint = "write it without `.`, `..`, double slashes and a slash at the end";
            self.error_with(at, format!("the path `{path}` is not in its simplest form"), hint);
        }
    }

    /// Names that may not come twice; `at` gives the path of the one at an index.
    fn unique<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n str>,
        what: &str,
        at: impl Fn(usize) -> String,
    ) {
        let mut seen = BTreeSet::new();
        for (index, name) in names.into_iter().enumerate() {
            if !seen.insert(name) {
                self.error(at(index), format!("{what} `{name}` is declared twice"));
            }
        }
    }
}

/// Whether an absolute path is what cleaning it would give.
fn is_clean(path: &str) -> bool {
    path == "/" || path.split('/').skip(1).all(|component| !matches!(component, "" | "." | ".."))
}

/// An absolute path in its simplest form.
fn clean(path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            component => components.push(component),
        }
    }
    format!("/{}", components.join("/"))
}
