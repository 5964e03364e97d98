//! `timesyncd.conf` and its drop-ins: which servers to ask.

use std::fs;
use std::path::{Path, PathBuf};

use unit_file::UnitFile;

/// Asked when nobody names a server.
pub const FALLBACK: &[&str] = &["time.cloudflare.com", "pool.ntp.org"];

const FOLDERS: &[&str] = &["/usr/lib/systemd", "/run/systemd", "/etc/systemd"];

/// What the files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `NTP=`: asked first.
    pub servers: Vec<String>,
    /// `FallbackNTP=`: asked when there is no other.
    pub fallback: Option<Vec<String>>,
}

impl Config {
    /// The config of this machine.
    #[must_use]
    pub fn read() -> Self {
        Self::below(&FOLDERS.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    fn below(folders: &[PathBuf]) -> Self {
        let mut merged = UnitFile::default();
        // The main file of the last folder counts, drop-ins of all add to it.
        let main =
            folders.iter().rev().map(|folder| folder.join("timesyncd.conf")).find(|path| path.exists());
        let mut drop_ins: Vec<PathBuf> =
            folders.iter().flat_map(|folder| list(&folder.join("timesyncd.conf.d"))).collect();
        drop_ins.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
        for path in main.into_iter().chain(drop_ins) {
            match fs::read_to_string(&path).map(|text| UnitFile::parse(&text)) {
                Ok(Ok(file)) => merged.merge(file),
                Ok(Err(error)) => tracing::warn!(path = %path.display(), %error, "not read"),
                Err(error) => tracing::warn!(path = %path.display(), %error, "not read"),
            }
        }
        let fallback = merged.words("Time", "FallbackNTP");
        let given = merged.values("Time", "FallbackNTP").next().is_some();
        Self { servers: merged.words("Time", "NTP"), fallback: given.then_some(fallback) }
    }

    /// Whom to ask, in this order; `network` are the servers that the network named.
    #[must_use]
    pub fn choose(&self, network: &[String]) -> Vec<String> {
        let mut chosen: Vec<String> = self.servers.iter().chain(network).cloned().collect();
        if chosen.is_empty() {
            let own = || FALLBACK.iter().map(|name| (*name).to_owned()).collect();
            chosen = self.fallback.clone().unwrap_or_else(own);
        }
        let mut seen = std::collections::BTreeSet::new();
        chosen.retain(|name| seen.insert(name.clone()));
        chosen
    }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "conf"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_add_up_and_the_fallback_is_only_that() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let etc = dir.path().join("etc");
        fs::create_dir_all(etc.join("timesyncd.conf.d")).expect("made");
        fs::write(etc.join("timesyncd.conf"), "[Time]\nNTP=a b\n").expect("written");
        fs::write(etc.join("timesyncd.conf.d/1.conf"), "[Time]\nNTP=c\nFallbackNTP=f\n").expect("written");
        let config = Config::below(std::slice::from_ref(&etc));
        assert_eq!(config.choose(&["d".into(), "a".into()]), ["a", "b", "c", "d"]);
        fs::write(etc.join("timesyncd.conf.d/2.conf"), "[Time]\nNTP=\n").expect("written");
        let config = Config::below(&[etc]);
        assert_eq!(config.choose(&["d".into()]), ["d"]);
        assert_eq!(config.choose(&[]), ["f"]);
        assert_eq!(Config::default().choose(&[]), FALLBACK);
    }
}
