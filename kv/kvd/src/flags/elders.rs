//! Flags and variables of etcd that mean nothing here, or that cannot be honoured. The former are accepted, the latter
//! refused with one sentence, unless they only say what is so anyway.

use std::ffi::OsString;

use super::Misuse;

enum Ours {
    /// Without effect, and without harm.
    Accepted,
    /// Only these values, the sentence otherwise.
    Only(&'static [&'static str], &'static str),
}
use Ours::{Accepted, Only};

const OFF: &[&str] = &["", "false"];

/// Name, whether it takes a value of its own, and what becomes of it.
const FLAGS: &[(&str, bool, Ours)] = &[
    ("auth-token", true, Only(&["", "simple"], "there are no users yet: use --client-cert-auth")),
    ("auth-token-ttl", true, Accepted),
    ("auto-tls", false, Only(OFF, "give --cert-file and --key-file")),
    ("backend-batch-interval", true, Accepted),
    ("backend-batch-limit", true, Accepted),
    ("backend-bbolt-freelist-type", true, Accepted),
    ("bcrypt-cost", true, Accepted),
    ("cipher-suites", true, Only(&[""], "the TLS library offers its safe suites only: leave it out")),
    (
        "client-cert-allowed-hostname",
        true,
        Only(&[""], "any certificate of --trusted-ca-file is taken: use a CA of its own"),
    ),
    ("cors", true, Only(&["", "*"], "no origins are checked: put a proxy before it")),
    ("debug", false, Accepted),
    ("discovery-fallback", true, Only(&["", "exit", "proxy"], "give exit")),
    ("discovery-proxy", true, Only(&[""], "discovery is asked directly: leave it out")),
    ("discovery-srv", true, Only(&[""], "give --initial-cluster or --discovery")),
    ("discovery-srv-name", true, Only(&[""], "give --initial-cluster or --discovery")),
    ("enable-log-rotation", false, Only(OFF, "logs go to stderr: rotate them there")),
    ("enable-pprof", false, Accepted),
    ("experimental-backend-bbolt-freelist-type", true, Accepted),
    ("experimental-bootstrap-defrag-threshold-megabytes", true, Accepted),
    ("experimental-compaction-batch-limit", true, Accepted),
    ("experimental-corrupt-check-time", true, Accepted),
    ("experimental-enable-distributed-tracing", false, Accepted),
    ("experimental-enable-lease-checkpoint", false, Accepted),
    ("experimental-enable-lease-checkpoint-persist", false, Accepted),
    ("experimental-enable-v2v3", true, Only(&[""], "v2 keys and v3 keys are apart: leave it out")),
    ("experimental-initial-corrupt-check", false, Accepted),
    ("experimental-memory-mlock", false, Accepted),
    ("experimental-peer-skip-client-san-verification", false, Accepted),
    ("experimental-txn-mode-write-with-shared-buffer", false, Accepted),
    ("experimental-warning-apply-duration", true, Accepted),
    ("experimental-warning-unary-request-duration", true, Accepted),
    ("force-new-cluster", false, Only(OFF, "save a snapshot and begin anew with --initial-snapshot")),
    ("grpc-keepalive-min-time", true, Accepted),
    ("host-whitelist", true, Only(&["", "*"], "the host of a request is not checked: put a proxy before it")),
    ("initial-election-tick-advance", false, Accepted),
    ("log-package-levels", true, Accepted),
    ("log-rotation-config-json", true, Accepted),
    ("max-snapshots", true, Accepted),
    ("max-wals", true, Accepted),
    ("metrics", true, Accepted),
    ("peer-auto-tls", false, Only(OFF, "give --peer-cert-file and --peer-key-file")),
    (
        "peer-cert-allowed-cn",
        true,
        Only(&[""], "any certificate of --peer-trusted-ca-file is taken: use a CA of its own"),
    ),
    (
        "peer-cert-allowed-hostname",
        true,
        Only(&[""], "any certificate of --peer-trusted-ca-file is taken: use a CA of its own"),
    ),
    ("proxy", true, Only(&["", "off"], "there is no proxy mode: point clients at the members")),
    ("proxy-dial-timeout", true, Accepted),
    ("proxy-failure-wait", true, Accepted),
    ("proxy-read-timeout", true, Accepted),
    ("proxy-refresh-interval", true, Accepted),
    ("proxy-write-timeout", true, Accepted),
    ("self-signed-cert-validity", true, Accepted),
    ("socket-reuse-address", false, Accepted),
    ("socket-reuse-port", false, Accepted),
    ("unsafe-no-fsync", false, Only(OFF, "what is acknowledged is always on disk: leave it out")),
    ("v2-deprecation", true, Accepted),
];

/// The flags' names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FLAGS.iter().map(|(name, ..)| *name)
}

/// Takes these flags out of a command line; what is left, and those that have no effect.
pub(super) fn take(args: Vec<OsString>) -> Result<(Vec<OsString>, Vec<&'static str>), Misuse> {
    let mut ignored = Vec::new();
    let mut left = Vec::new();
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        let text = arg.to_str().and_then(|text| text.strip_prefix("--"));
        let (name, value) =
            match text.map(|text| text.split_once('=').map_or((text, None), |(n, v)| (n, Some(v)))) {
                Some((name, value)) => (name, value),
                None => {
                    left.push(arg);
                    continue;
                }
            };
        let Some((name, has_value, ours)) = FLAGS.iter().find(|(known, ..)| *known == name) else {
            left.push(arg);
            continue;
        };
        let value = match (value, has_value) {
            (Some(value), _) => value.to_owned(),
            (None, false) => "true".to_owned(),
            (None, true) => match args.next() {
                Some(value) => value.to_string_lossy().into_owned(),
                None => return Err(Misuse::usage(format!("flag needs an argument: -{name}"))),
            },
        };
        check(name, ours, &value)?;
        if matches!(ours, Accepted) {
            ignored.push(*name);
        }
    }
    Ok((left, ignored))
}

fn check(name: &str, ours: &Ours, value: &str) -> Result<(), Misuse> {
    match ours {
        Only(allowed, why) if !allowed.contains(&value) => {
            Err(Misuse::refused(format!("--{name}={value} is not supported: {why}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(args: &[&str]) -> Result<(Vec<OsString>, Vec<&'static str>), Misuse> {
        take(args.iter().map(OsString::from).collect())
    }

    #[test]
    fn harmless_flags_vanish_and_others_are_refused() {
        let (left, ignored) = taken(&["kvd", "--max-wals", "5", "--enable-pprof", "--name=a", "--proxy=off"])
            .expect("harmless");
        assert_eq!(left, ["kvd", "--name=a"]);
        assert_eq!(ignored, ["max-wals", "enable-pprof"]);
        let refused = taken(&["kvd", "--unsafe-no-fsync"]).expect_err("a lie");
        assert!(refused.to_string().contains("always on disk"), "{refused}");
    }
}
