//! The query of `POST /build`.

use std::collections::{BTreeMap, BTreeSet};

/// What a client asks of a build.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildOptions {
    /// `t`, as typed.
    pub tags: Vec<String>,
    /// Path in the context.
    pub dockerfile: String,
    pub build_args: BTreeMap<String, Option<String>>,
    pub labels: BTreeMap<String, String>,
    pub target: String,
    pub platform: String,
    pub no_cache: bool,
    pub pull: bool,
    /// Remove the containers of steps that worked (clients send true).
    pub remove: bool,
    /// Remove also those of steps that failed.
    pub force_remove: bool,
    /// Only the image ID at the end.
    pub quiet: bool,
    pub cache_from: Vec<String>,
    /// URL of a context or Dockerfile, or `client-session`.
    pub remote: String,
    pub network_mode: String,
    pub extra_hosts: Vec<String>,
    pub memory: i64,
    pub memory_swap: i64,
    pub cpu_shares: i64,
    pub cpu_period: i64,
    pub cpu_quota: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    pub cgroup_parent: String,
    pub shm_size: i64,
    /// JSON as sent: `[{"Name":…,"Soft":…,"Hard":…}]`.
    pub ulimits: Option<serde_json::Value>,
    pub security_opt: Vec<String>,
}

/// A query that cannot be honoured (400).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    #[error("error reading build args: {0}")]
    BuildArgs(String),
    #[error("error reading labels: {0}")]
    Labels(String),
    #[error("invalid value for {name}: {value:?}")]
    Number { name: String, value: String },
    #[error("{0}")]
    Platform(String),
    #[error("error reading ulimit settings: {0}")]
    Ulimits(String),
    #[error("{0}")]
    CacheFrom(String),
    #[error("invalid version {0:?}")]
    Version(String),
    #[error("{0}")]
    Refused(&'static str),
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            dockerfile: "Dockerfile".into(),
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            target: String::new(),
            platform: String::new(),
            no_cache: false,
            pull: false,
            remove: true,
            force_remove: false,
            quiet: false,
            cache_from: Vec::new(),
            remote: String::new(),
            network_mode: "default".into(),
            extra_hosts: Vec::new(),
            memory: 0,
            memory_swap: 0,
            cpu_shares: 0,
            cpu_period: 0,
            cpu_quota: 0,
            cpuset_cpus: String::new(),
            cpuset_mems: String::new(),
            cgroup_parent: String::new(),
            shm_size: 0,
            ulimits: None,
            security_opt: Vec::new(),
        }
    }
}

impl BuildOptions {
    /// Reads the decoded query, in order. Of a name that comes twice, the first counts: docker-py sends a
    /// Dockerfile from outside the context as a second `dockerfile`.
    pub fn from_query<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, OptionError> {
        let mut options = Self::default();
        let mut seen = BTreeSet::new();
        for (name, value) in pairs {
            if matches!(name, "t" | "extrahosts") || seen.insert(name) {
                options.set(name, value)?;
            }
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        match name {
            "t" if !value.is_empty() => self.tags.push(value.to_owned()),
            "dockerfile" if !value.is_empty() => self.dockerfile = value.to_owned(),
            "buildargs" if !value.is_empty() => {
                self.build_args =
                    serde_json::from_str(value).map_err(|e| OptionError::BuildArgs(e.to_string()))?;
            }
            "labels" if !value.is_empty() => {
                self.labels = serde_json::from_str(value).map_err(|e| OptionError::Labels(e.to_string()))?;
            }
            "target" => self.target = value.to_owned(),
            "platform" => {
                if !value.is_empty() {
                    engine_image::Platform::parse(value).map_err(|e| OptionError::Platform(e.to_string()))?;
                }
                self.platform = value.to_owned();
            }
            "nocache" => self.no_cache = truth(value),
            "pull" => self.pull = truth(value),
            "rm" => self.remove = value.is_empty() || truth(value),
            "forcerm" => self.force_remove = truth(value),
            "q" => self.quiet = truth(value),
            "cachefrom" if !value.is_empty() => {
                self.cache_from =
                    serde_json::from_str(value).map_err(|e| OptionError::CacheFrom(e.to_string()))?;
            }
            "remote" => self.remote = value.to_owned(),
            "networkmode" if !value.is_empty() => self.network_mode = value.to_owned(),
            "extrahosts" if !value.is_empty() => self.extra_hosts.push(value.to_owned()),
            "memory" => self.memory = number(name, value)?,
            "memswap" => self.memory_swap = number(name, value)?,
            "cpushares" => self.cpu_shares = number(name, value)?,
            "cpuperiod" => self.cpu_period = number(name, value)?,
            "cpuquota" => self.cpu_quota = number(name, value)?,
            "cpusetcpus" => self.cpuset_cpus = value.to_owned(),
            "cpusetmems" => self.cpuset_mems = value.to_owned(),
            "cgroupparent" => self.cgroup_parent = value.to_owned(),
            "shmsize" => self.shm_size = number(name, value)?,
            // Docker's client of 20.10 says null when it has none.
            "ulimits" if !matches!(value, "" | "null") => {
                let ulimits = serde_json::from_str(value).map_err(|e| OptionError::Ulimits(e.to_string()))?;
                self.ulimits = Some(ulimits);
            }
            "securityopt" if !value.is_empty() => {
                self.security_opt = serde_json::from_str(value).unwrap_or_default()
            }
            "squash" if truth(value) => {
                return Err(OptionError::Refused("squash is only supported with experimental mode"));
            }
            "version" if value == "2" => {
                return Err(OptionError::Refused(
                    "BuildKit is not supported by this engine; build with DOCKER_BUILDKIT=0",
                ));
            }
            "version" if !matches!(value, "" | "1") => return Err(OptionError::Version(value.to_owned())),
            "outputs" if !value.is_empty() => {
                return Err(OptionError::Refused("outputs need BuildKit, which this engine does not have"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Docker's idea of true in a query.
fn truth(value: &str) -> bool {
    !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
}

fn number(name: &str, value: &str) -> Result<i64, OptionError> {
    if value.is_empty() {
        return Ok(0);
    }
    value.parse().map_err(|_| OptionError::Number { name: name.to_owned(), value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read() {
        let query = [
            ("t", "a:1"),
            ("t", "b"),
            ("buildargs", r#"{"A":"1","B":null}"#),
            ("rm", "1"),
            ("nocache", "true"),
            ("ulimits", "null"),
            ("dockerfile", "a"),
            ("dockerfile", "FROM b"),
        ];
        let options = BuildOptions::from_query(query).expect("fine");
        assert_eq!(options.tags, ["a:1", "b"]);
        assert_eq!(options.build_args.get("B"), Some(&None));
        assert_eq!((options.ulimits, options.dockerfile.as_str()), (None, "a"));
        assert!(options.remove && options.no_cache && !options.pull);
        assert!(BuildOptions::from_query([("squash", "1")]).is_err());
        for (name, value) in [("version", "2"), ("version", "3"), ("ulimits", "x"), ("cachefrom", "x")] {
            assert!(BuildOptions::from_query([(name, value)]).is_err(), "{name}={value}");
        }
    }
}
