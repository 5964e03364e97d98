//! Single values of options: what is a label, an address pool, a limit. Pure; the texts are dockerd's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use super::config::{AddressPool, Ulimit};

/// Limits of processes that have a name.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

pub(super) fn check_label(label: &str) -> Result<(), String> {
    match label.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(()),
        _ => Err(format!("bad attribute format: {label}")),
    }
}

/// A label may be said twice, but not with two values.
pub(super) fn check_labels(labels: &[String]) -> Result<(), String> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for label in labels {
        check_label(label)?;
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        if let Some(other) = seen.insert(key, value).filter(|other| *other != value) {
            return Err(format!("conflict labels for {key}={value} and {key}={other}"));
        }
    }
    Ok(())
}

pub(super) fn check_ip(text: &str) -> Result<(), String> {
    text.trim().parse::<IpAddr>().map(|_| ()).map_err(|_| format!("{text} is not an ip address"))
}

/// A search domain; a lone dot is none.
pub(super) fn check_domain(text: &str) -> Result<(), String> {
    let text = text.trim();
    let word = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let labels = text.strip_suffix('.').unwrap_or(text);
    let fits =
        labels.len() <= 255 && labels.split('.').all(word) && labels.bytes().any(|b| b.is_ascii_alphabetic());
    if text == "." || fits { Ok(()) } else { Err(format!("{text} is not a valid domain")) }
}

pub(super) fn check_mirror(text: &str) -> Result<(), String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if scheme != "http" && scheme != "https" {
        return Err(format!("invalid mirror: unsupported scheme {scheme:?} in {text:?}"));
    }
    if let Some((user, host)) = rest.split_once('@') {
        let user = user.split(':').next().unwrap_or_default();
        return Err(format!(
            "invalid mirror: username/password not allowed in URI \"{scheme}://{user}:xxxxx@{host}\""
        ));
    }
    if rest.trim_end_matches('/').contains(['/', '?', '#']) {
        return Err(format!("invalid mirror: path, query, or fragment at end of the URI {text:?}"));
    }
    Ok(())
}

/// `host[:port]` or a network; a scheme is dropped by [`registry_name`].
pub(super) fn check_registry(text: &str) -> Result<(), String> {
    let name = registry_name(text);
    if name.starts_with('-') || name.ends_with('-') {
        return Err(format!("invalid index name ({name}). Cannot begin or end with a hyphen"));
    }
    Ok(())
}

/// People write URLs where only the host counts.
pub(super) fn registry_name(text: &str) -> String {
    text.trim_start_matches("http://").trim_start_matches("https://").to_owned()
}

pub(super) fn read_shm(value: Option<&Value>) -> Result<u64, String> {
    match value {
        None => Ok(64 << 20),
        Some(Value::Number(n)) => n.as_u64().ok_or_else(|| format!("invalid size: '{n}'")),
        Some(other) => parse_size(other.as_str().unwrap_or_default()),
    }
}

pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    engine_api::size::parse(text).ok_or_else(|| format!("invalid size: '{text}'"))
}

pub(super) fn read_pools(value: Option<&Value>) -> Result<Vec<AddressPool>, String> {
    let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    items.iter().map(read_pool).collect()
}

/// `base=10.10.0.0/16,size=24` of the flag, or `{"base": …, "size": …}` of the file.
fn read_pool(value: &Value) -> Result<AddressPool, String> {
    match value {
        Value::Object(o) => {
            let base = o.get("base").and_then(Value::as_str).unwrap_or_default();
            let size = o.get("size").and_then(Value::as_u64).unwrap_or_default();
            pool(base, &size.to_string())
        }
        other => parse_pool(other.as_str().unwrap_or_default()),
    }
}

pub(super) fn parse_pool(text: &str) -> Result<AddressPool, String> {
    let (mut base, mut size) = ("", "");
    for field in text.split(',') {
        let (key, value) = field.split_once('=').ok_or_else(|| {
            format!("invalid field '{field}' must be a key=value pair: write base=10.10.0.0/16,size=24")
        })?;
        match key.to_ascii_lowercase().as_str() {
            "base" => base = value,
            "size" => size = value,
            other => return Err(format!("unexpected key '{other}' in '{field}'")),
        }
    }
    pool(base, size)
}

fn pool(base: &str, size: &str) -> Result<AddressPool, String> {
    let (_, prefix) = base
        .split_once('/')
        .ok_or_else(|| format!("invalid base prefix {base:?}: write base=10.10.0.0/16,size=24"))?;
    let network = engine_net::Subnet::parse_with_address(base);
    let (Ok(_), Ok(prefix)) = (network, prefix.parse::<u8>()) else {
        return Err(format!("invalid base prefix {base:?}: it is no IPv4 network, as 10.10.0.0/16 is"));
    };
    let bits: u8 = size.parse().map_err(|_| format!("invalid size value {size:?}: it is no number"))?;
    if bits < prefix || bits > 30 {
        return Err(format!("invalid pool size {bits} in {base}: it is {prefix} at least and 30 at most"));
    }
    Ok(AddressPool { base: base.to_owned(), size: bits })
}

/// `nofile=1024:2048` of the flag, or `{"nofile": {"Name","Soft","Hard"}}` of the file.
pub(super) fn read_ulimits(value: Option<&Value>) -> Result<Vec<Ulimit>, String> {
    let number = |o: &Value, key: &str| o.get(key).and_then(Value::as_i64).unwrap_or(0);
    match value {
        Some(Value::Object(by_name)) => by_name
            .iter()
            .map(|(name, l)| {
                checked(Ulimit { name: name.clone(), soft: number(l, "Soft"), hard: number(l, "Hard") })
            })
            .collect(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(parse_ulimit).collect(),
        _ => Ok(Vec::new()),
    }
}

pub(super) fn parse_ulimit(text: &str) -> Result<Ulimit, String> {
    let wrong = || format!("invalid ulimit argument: {text}");
    let (name, limits) = text.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |n: &str| n.parse().map_err(|_| format!("strconv.ParseInt: parsing {n:?}: invalid syntax"));
    checked(Ulimit { name: name.to_owned(), soft: number(soft)?, hard: number(hard)? })
}

fn checked(limit: Ulimit) -> Result<Ulimit, String> {
    let Ulimit { name, soft, hard } = &limit;
    if !ULIMITS.contains(&name.as_str()) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    // -1 is no limit.
    if *hard != -1 && (*soft == -1 || soft > hard) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(limit)
}

pub(super) fn read_map(value: Option<&Value>) -> BTreeMap<String, String> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.map(|(k, v)| (k.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_refused_in_dockers_words() {
        let cases: [(Result<(), String>, &str); 13] = [
            (check_domain("-bad-"), "-bad- is not a valid domain"),
            (check_domain("ex..com"), "ex..com is not a valid domain"),
            (check_domain("1.2"), "1.2 is not a valid domain"),
            (check_mirror("x"), r#"invalid mirror: unsupported scheme "" in "x""#),
            (
                check_mirror("https://x/path"),
                r#"invalid mirror: path, query, or fragment at end of the URI "https://x/path""#,
            ),
            (
                check_mirror("https://u:p@x"),
                r#"invalid mirror: username/password not allowed in URI "https://u:xxxxx@x""#,
            ),
            (check_registry("-x"), "invalid index name (-x). Cannot begin or end with a hyphen"),
            (check_labels(&["a=1".into(), "a=2".into()]), "conflict labels for a=2 and a=1"),
            (parse_ulimit("foo=1").map(drop), "invalid ulimit type: foo"),
            (
                parse_ulimit("nofile=5:1").map(drop),
                "ulimit soft limit must be less than or equal to hard limit: 5 > 1",
            ),
            (parse_ulimit("nofile").map(drop), "invalid ulimit argument: nofile"),
            (
                parse_pool("base=10.0.0.0/8,size=4").map(drop),
                "invalid pool size 4 in 10.0.0.0/8: it is 8 at least and 30 at most",
            ),
            (parse_pool("foo=1").map(drop), "unexpected key 'foo' in 'foo=1'"),
        ];
        for (got, want) in cases {
            assert_eq!(got.unwrap_err(), want);
        }
    }

    #[test]
    fn good_values_are_taken() {
        for domain in ["example.com", ".", "local", "a_b.c-d.", "9gag.com"] {
            check_domain(domain).unwrap();
        }
        check_mirror("https://mirror.example:5000/").unwrap();
        assert_eq!(registry_name("http://reg:5000"), "reg:5000");
        assert_eq!(parse_pool("base=10.10.0.0/16,size=24").unwrap().size, 24);
        assert_eq!(parse_ulimit("nofile=1024:-1").unwrap().hard, -1);
    }
}
