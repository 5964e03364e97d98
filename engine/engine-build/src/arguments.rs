//! `ARG`: which build arguments exist where, and what they are worth.

use std::collections::{BTreeMap, BTreeSet};

/// Usable without an `ARG`, and no part of the cache.
const PREDEFINED: [&str; 8] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
];

type Values = BTreeMap<String, Option<String>>;

/// The arguments of a build while it runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arguments {
    given: Values,
    meta: Values,
    stage: Values,
    referenced: BTreeSet<String>,
}

impl Arguments {
    pub(crate) fn new(given: &Values) -> Self {
        Self { given: given.clone(), ..Self::default() }
    }

    /// A new `FROM`: earlier stages' arguments are unknown again.
    pub(crate) fn begin_stage(&mut self) {
        self.stage.clear();
    }

    pub(crate) fn add(&mut self, name: &str, value: Option<String>) {
        self.referenced.insert(name.to_owned());
        self.stage.insert(name.to_owned(), value);
    }

    pub(crate) fn add_meta(&mut self, name: &str, value: Option<String>) {
        self.referenced.insert(name.to_owned());
        self.meta.insert(name.to_owned(), value);
    }

    /// For `FROM` lines: `NAME=value`.
    pub(crate) fn meta_environment(&self) -> Vec<String> {
        self.all(&self.meta)
    }

    /// What the stage may use and its environment does not set already, `NAME=value`, sorted.
    pub(crate) fn environment(&self, set: &[String]) -> Vec<String> {
        let is_set = |name: &str| set.iter().any(|pair| pair.split('=').next() == Some(name));
        let mut environment = self.all(&self.stage);
        environment.retain(|pair| !is_set(pair.split('=').next().unwrap_or_default()));
        environment
    }

    /// Those of an environment that count for the cache.
    pub(crate) fn cached(&self, environment: &[String]) -> Vec<String> {
        let counts = |name: &str| self.stage.contains_key(name) || !PREDEFINED.contains(&name);
        environment
            .iter()
            .filter(|pair| counts(pair.split('=').next().unwrap_or_default()))
            .cloned()
            .collect()
    }

    /// Arguments given that no `ARG` asked for.
    pub(crate) fn unused(&self) -> Vec<String> {
        let given = self.given.keys();
        given
            .filter(|name| !self.referenced.contains(*name) && !PREDEFINED.contains(&name.as_str()))
            .cloned()
            .collect()
    }

    fn all(&self, declared: &Values) -> Vec<String> {
        let names: BTreeSet<&str> = declared.keys().map(String::as_str).chain(PREDEFINED).collect();
        names.into_iter().filter_map(|name| Some(format!("{name}={}", self.value(name, declared)?))).collect()
    }

    fn value(&self, name: &str, declared: &Values) -> Option<String> {
        match self.given.get(name) {
            Some(given) => given.clone(),
            None => declared.get(name).cloned().flatten().or_else(|| self.meta.get(name).cloned().flatten()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes() {
        let given = [("A", Some("given")), ("HTTP_PROXY", Some("p")), ("Z", Some("z")), ("N", None)];
        let given = given.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).into();
        let mut arguments = Arguments::new(&given);
        arguments.add_meta("M", Some("meta".into()));
        assert_eq!(arguments.meta_environment(), ["HTTP_PROXY=p", "M=meta"]);
        arguments.add("A", Some("default".into()));
        arguments.add("M", None);
        arguments.add("E", Some("e".into()));
        let environment = arguments.environment(&["E=set".into()]);
        assert_eq!(environment, ["A=given", "HTTP_PROXY=p", "M=meta"]);
        assert_eq!(arguments.cached(&environment), ["A=given", "M=meta"]);
        assert_eq!(arguments.unused(), ["N", "Z"]);
        arguments.begin_stage();
        assert_eq!(arguments.environment(&[]), ["HTTP_PROXY=p"]);
    }
}
