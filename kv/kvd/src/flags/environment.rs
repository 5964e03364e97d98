//! `ETCD_*` variables: each says what the flag of its name says, and none may contradict the command line.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
};

use super::Misuse;

const PREFIX: &str = "ETCD_";

/// The variables that are set to something, by name.
#[derive(Debug, Default, Clone)]
pub(super) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// What this process was given.
    pub(super) fn of_process() -> Self {
        let text = |text: OsString| text.into_string().ok();
        Self::new(std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))))
    }

    pub(super) fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |(name, value): &(String, String)| name.starts_with(PREFIX) && !value.is_empty();
        Self(variables.into_iter().filter(ours).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The flags that the variables stand for, given the `known` flags and those of the command line; and the
    /// variables that stand for none. A flag that is given both ways is refused: one of the two is a mistake.
    pub(super) fn flags(
        &self,
        known: &BTreeSet<String>,
        args: &[OsString],
    ) -> Result<(Vec<OsString>, Vec<String>), Misuse> {
        let name = |arg: &OsString| {
            let text = arg.to_str()?.strip_prefix("--")?;
            text.split('=').next().map(str::to_owned)
        };
        let given: BTreeSet<String> = args.iter().filter_map(name).collect();
        let (mut flags, mut unknown) = (Vec::new(), Vec::new());
        for (variable, value) in &self.0 {
            let flag = flag(variable);
            if given.contains(&flag) {
                return Err(Misuse::shadowed(variable));
            }
            if known.contains(&flag) {
                flags.push(format!("--{flag}={value}").into());
            } else {
                unknown.push(variable.clone());
            }
        }
        Ok((flags, unknown))
    }
}

fn flag(variable: &str) -> String {
    variable.trim_start_matches(PREFIX).to_lowercase().replace('_', "-")
}

/// The variable of a flag.
pub(super) fn variable(flag: &str) -> String {
    format!("{PREFIX}{}", flag.to_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::new(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn variables_are_flags_unless_they_are_empty_or_unknown() {
        let environment = environment(&[
            ("ETCD_DATA_DIR", "/d"),
            ("ETCD_DISCOVERY", ""),
            ("ETCD_SERVICE_HOST", "10.0.0.1"),
            ("ETCDCTL_API", "3"),
        ]);
        let known = ["data-dir".to_owned(), "discovery".to_owned()].into();
        let (flags, unknown) = environment.flags(&known, &[]).expect("no conflict");
        assert_eq!((flags, unknown), (vec!["--data-dir=/d".into()], vec!["ETCD_SERVICE_HOST".to_owned()]));
    }

    #[test]
    fn a_flag_that_is_given_both_ways_is_refused() {
        let environment = environment(&[("ETCD_NAME", "a")]);
        let known = ["name".to_owned()].into();
        for args in [["--name=b"], ["--name"]] {
            let refused = environment.flags(&known, &args.map(OsString::from)).expect_err("a conflict");
            assert!(refused.to_string().contains("\"ETCD_NAME\" is shadowed"), "{refused}");
            assert_eq!(refused.code, 1);
        }
    }
}
