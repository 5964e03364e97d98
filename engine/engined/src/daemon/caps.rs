//! Which capabilities a container gets, and the system calls that go with them.

use engine_api::host_config::HostConfig;
use engine_runtime::caps::{DEFAULT, NAMES as ALL};

use super::error::{Refusal, Result};

/// The capabilities of a container, with their prefix.
pub(crate) fn of(host: &HostConfig) -> Result<Vec<String>> {
    if host.privileged {
        return Ok(ALL.iter().map(|c| format!("CAP_{c}")).collect());
    }
    let add = names("CapAdd", host.cap_add.as_deref())?;
    let drop = names("CapDrop", host.cap_drop.as_deref())?;
    let has = |list: &[String], cap: &str| list.iter().any(|c| c == cap);
    let starts_with_all = has(&add, "ALL");
    let base = if has(&drop, "ALL") && !starts_with_all {
        &[][..]
    } else if starts_with_all {
        &ALL[..]
    } else {
        &DEFAULT[..]
    };
    let kept = ALL.iter().filter(|cap| (base.contains(cap) && !has(&drop, cap)) || has(&add, cap));
    Ok(kept.map(|c| format!("CAP_{c}")).collect())
}

fn names(field: &str, list: Option<&[String]>) -> Result<Vec<String>> {
    list.unwrap_or_default()
        .iter()
        .map(|text| {
            let upper = text.to_ascii_uppercase();
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
            if bare != "ALL" && !ALL.contains(&bare) {
                return Err(Refusal::bad(format!("invalid {field}: unknown capability: \"CAP_{bare}\"")));
            }
            Ok(bare.to_owned())
        })
        .collect()
}

/// Capabilities are checked when a container is created, too.
pub(crate) fn check(host: &HostConfig) -> Result<()> {
    of(host).map(|_| ())
}

/// The default filter for these capabilities, as the shim loads it.
pub(crate) fn seccomp(capabilities: &[String]) -> Vec<u64> {
    engine_runtime::default_filter(capabilities)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(add: &[&str], drop: &[&str]) -> Vec<String> {
        let owned = |l: &[&str]| Some(l.iter().map(|s| (*s).to_owned()).collect());
        of(&HostConfig { cap_add: owned(add), cap_drop: owned(drop), ..HostConfig::default() }).unwrap()
    }

    #[test]
    fn adding_and_dropping() {
        assert_eq!(caps(&[], &[]).len(), 14);
        assert_eq!(caps(&["ALL"], &[]).len(), 41);
        assert_eq!(caps(&["net_admin"], &["ALL"]), ["CAP_NET_ADMIN"]);
        assert_eq!(caps(&["ALL"], &["CAP_SYS_ADMIN"]).len(), 40);
        assert!(!caps(&[], &["kill"]).contains(&"CAP_KILL".to_owned()));
        assert!(of(&HostConfig { cap_add: Some(vec!["FOO".into()]), ..HostConfig::default() }).is_err());
    }
}
