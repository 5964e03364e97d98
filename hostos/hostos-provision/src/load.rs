//! From the bytes that a machine was given to one whole config: its parents fetched, merged and checked.

use hostos_config::{Config, Diagnostic, Rejected, Resource, merge, parse, validate};

use crate::fetch::{FetchError, Fetcher, UnpackError};

/// Deeper than any sane chain of configs, and an end to one that names itself.
const MAX_DEPTH: usize = 16;

/// A config with nothing left to fetch but content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What is to be done.
    pub config: Config,
    /// What its authors should know.
    pub warnings: Vec<Diagnostic>,
}

/// Why there is no config.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// One of the configs cannot be used.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// One that another names cannot be had.
    #[error("cannot get the config that {name} names")]
    Fetch {
        /// Which one names it.
        name: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// A chain without end.
    #[error("{0} is the end of a chain of more than {MAX_DEPTH} configs; does one name itself?")]
    Depth(String),
    /// Each is valid, all together are not.
    #[error("the configs merged into {name} contradict each other: {rejected}")]
    Merged {
        /// Into which one.
        name: String,
        /// What is wrong.
        rejected: Rejected,
    },
}

/// Reads a config and all that it merges or is replaced by. Blocks while it fetches.
///
/// # Errors
/// The first config that cannot be had or used.
pub fn load(source: &[u8], name: &str) -> Result<Loaded, LoadError> {
    let mut warnings = Vec::new();
    let config = render(source, name, &Config::default(), 0, &mut warnings)?;
    let errors: Vec<Diagnostic> = validate(&config).into_iter().filter(Diagnostic::is_error).collect();
    if errors.is_empty() {
        Ok(Loaded { config, warnings })
    } else {
        Err(LoadError::Merged { name: name.into(), rejected: Rejected { diagnostics: errors } })
    }
}

/// A config with its children; `settings` is what those above it say of how to fetch.
fn render(
    source: &[u8],
    name: &str,
    settings: &Config,
    depth: usize,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Config, LoadError> {
    if depth > MAX_DEPTH {
        return Err(LoadError::Depth(name.into()));
    }
    let (config, found) = parse(source, name)?;
    warnings.extend(found);
    let replace = &config.ignition.config.replace;
    let replaced = replace.source.as_deref().is_some_and(|source| !source.is_empty());
    if !replaced && config.ignition.config.merge.is_empty() {
        return Ok(config);
    }
    let mut settings = settings.clone();
    settings.ignition =
        merge(&settings, &Config { ignition: config.ignition.clone(), ..Config::default() }).ignition;
    let failed = |source| LoadError::Fetch { name: name.into(), source };
    let fetcher = Fetcher::new(&settings).map_err(failed)?;
    let child = |resource: &Resource, warnings: &mut Vec<Diagnostic>| {
        let content = fetcher.fetch(resource).map_err(failed)?;
        let bytes = content.bytes().map_err(|error| failed(UnpackError::Keep(error).into()))?;
        render(&bytes, &child_name(resource), &settings, depth + 1, warnings)
    };
    if replaced {
        return child(replace, warnings);
    }
    let mut result = config.clone();
    for resource in &config.ignition.config.merge {
        result = merge(&result, &child(resource, warnings)?);
    }
    Ok(result)
}

fn child_name(resource: &Resource) -> String {
    let source = resource.source.as_deref().unwrap_or_default();
    if source.starts_with("data:") { "the config in a data URL".into() } else { source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_children(children: &[String], own_hostname: &str) -> String {
        let mut config = Config::default();
        config.storage.files.push(hostos_config::File::inline("/etc/hostname", 0o644, own_hostname));
        config.ignition.config.merge = children.iter().map(Resource::inline).collect();
        config.to_json()
    }

    fn hostname(config: &Config) -> Vec<u8> {
        let file =
            config.storage.files.iter().find(|file| file.path == "/etc/hostname").expect("it is there");
        hostos_config::data_url::decode(file.contents.source.as_deref().unwrap_or_default()).expect("inline")
    }

    #[test]
    fn the_last_child_wins_and_grandchildren_win_over_children() {
        let grandchild = with_children(&[], "grandchild");
        let first = with_children(&[grandchild], "first");
        let second = with_children(&[], "second");
        let loaded = load(with_children(&[second.clone(), first.clone()], "parent").as_bytes(), "top")
            .expect("it loads");
        assert_eq!(hostname(&loaded.config), b"grandchild");
        let loaded = load(with_children(&[first, second], "parent").as_bytes(), "top").expect("it loads");
        assert_eq!(hostname(&loaded.config), b"second");
    }

    #[test]
    fn replace_leaves_nothing_of_the_parent() {
        let child = r#"{"ignition":{"version":"3.0.0"},"systemd":{"units":[{"name":"a.service"}]}}"#;
        let mut parent = Config::default();
        parent.storage.files.push(hostos_config::File::inline("/etc/hostname", 0o644, "parent"));
        parent.ignition.config.replace = Resource::inline(child);
        let loaded = load(parent.to_json().as_bytes(), "top").expect("it loads");
        assert!(loaded.config.storage.files.is_empty());
        assert_eq!(loaded.config.systemd.units.len(), 1);
    }

    #[test]
    fn a_broken_child_is_named() {
        let error =
            load(with_children(&["{".into()], "x").as_bytes(), "top").expect_err("the child is broken");
        assert!(error.to_string().starts_with("the config in a data URL:1:2: expected a key"), "{error}");
    }

    #[test]
    fn valid_configs_that_merge_badly_are_refused() {
        let child = r#"{"ignition":{"version":"3.0.0"},"storage":{"links":[{"path":"/etc","target":"/x"}]}}"#;
        let error =
            load(with_children(&[child.into()], "x").as_bytes(), "top").expect_err("a file below a link");
        assert!(error.to_string().contains("contradict each other"), "{error}");
    }
}
