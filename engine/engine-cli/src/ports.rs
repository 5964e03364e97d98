//! Published ports: how they are asked for and how they are shown.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::http::Failure;
use crate::words::text;

/// What `-p` asks for: for each port of the container where it is published.
pub(crate) type Bindings = BTreeMap<String, Vec<Value>>;

/// Adds `[ip:][public[-last]:]private[-last][/protocol]`.
pub(crate) fn publish(spec: &str, into: &mut Bindings) -> Result<(), Failure> {
    let usage = |words: String| Failure::Usage(words);
    let (address, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
    // An IPv6 address is in brackets.
    let (ip, rest) = match address.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        Some((ip, rest)) => (ip, rest),
        None => match address.splitn(3, ':').collect::<Vec<_>>().as_slice() {
            [ip, public, private] => (*ip, &address[address.len() - public.len() - private.len() - 1..]),
            _ => ("", address),
        },
    };
    let (public, private) = rest.rsplit_once(':').unwrap_or(("", rest));
    if private.is_empty() {
        return Err(usage(format!("no port specified: {spec}<empty>")));
    }
    if !ip.is_empty() && ip.parse::<std::net::IpAddr>().is_err() {
        return Err(usage(format!("invalid IP address: {ip}")));
    }
    if !matches!(protocol, "tcp" | "udp" | "sctp") {
        return Err(usage(format!("invalid proto: {protocol}")));
    }
    let (first, last) = range(private).ok_or_else(|| usage(format!("invalid containerPort: {private}")))?;
    let hosts = match public {
        "" => None,
        _ => Some(range(public).ok_or_else(|| usage(format!("invalid hostPort: {public}")))?),
    };
    if let Some((from, to)) = hosts
        && to - from != last - first
        && first != last
    {
        return Err(usage(format!(
            "invalid ranges specified for container and host Ports: {private} and {public}"
        )));
    }
    for (n, port) in (first..=last).enumerate() {
        let host = match hosts {
            None => String::new(),
            // One port of the container and several of the host: the engine takes a free one.
            Some((from, to)) if first == last && from != to => public.to_owned(),
            Some((from, _)) => (usize::from(from) + n).to_string(),
        };
        into.entry(format!("{port}/{protocol}")).or_default().push(json!({ "HostIp": ip, "HostPort": host }));
    }
    Ok(())
}

/// The ports that `--expose` names.
pub(crate) fn expose(spec: &str) -> Result<Vec<String>, Failure> {
    let (ports, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
    let (first, last) = range(ports).ok_or_else(|| {
        Failure::Usage(format!("invalid range format for --expose: {spec}, error: invalid start port"))
    })?;
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// Ports as `ps` shows them: neighbours as one range.
pub(crate) fn shown(ports: &[Value]) -> String {
    struct Port {
        ip: String,
        public: u64,
        private: u64,
        kind: String,
    }
    struct Group {
        key: (String, String),
        first: u64,
        last: u64,
    }
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let read = |p: &Value| Port {
        ip: text(&p["IP"]),
        public: number(&p["PublicPort"]),
        private: number(&p["PrivatePort"]),
        kind: text(&p["Type"]),
    };
    let mut ports: Vec<Port> = ports.iter().map(read).collect();
    ports.sort_by(|a, b| (a.private, &a.ip, a.public, &a.kind).cmp(&(b.private, &b.ip, b.public, &b.kind)));
    let host = |ip: &str| if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let form = |group: &Group| {
        let (ip, kind) = &group.key;
        let span = match group.first == group.last {
            true => group.first.to_string(),
            false => format!("{}-{}", group.first, group.last),
        };
        if ip.is_empty() { format!("{span}/{kind}") } else { format!("{}:{span}->{span}/{kind}", host(ip)) }
    };
    let (mut groups, mut mapped, mut result) = (Vec::<Group>::new(), Vec::new(), Vec::new());
    for port in ports {
        if !port.ip.is_empty() && port.public != port.private {
            mapped.push(format!("{}:{}->{}/{}", host(&port.ip), port.public, port.private, port.kind));
            continue;
        }
        let key = (port.ip, port.kind);
        match groups.iter_mut().find(|group| group.key == key) {
            None => groups.push(Group { key, first: port.private, last: port.private }),
            Some(group) if port.private == group.last + 1 => group.last = port.private,
            Some(group) => {
                result.push(form(group));
                (group.first, group.last) = (port.private, port.private);
            }
        }
    }
    result.extend(groups.iter().map(form));
    result.extend(mapped);
    result.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(spec: &str) -> String {
        let mut into = Bindings::new();
        match publish(spec, &mut into) {
            Ok(()) => json!(into).to_string(),
            Err(failure) => failure.to_string(),
        }
    }

    #[test]
    fn what_is_asked_for() {
        for (spec, means) in [
            ("80", r#"{"80/tcp":[{"HostIp":"","HostPort":""}]}"#),
            ("8080:80/udp", r#"{"80/udp":[{"HostIp":"","HostPort":"8080"}]}"#),
            ("127.0.0.1::80", r#"{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":""}]}"#),
            ("127.0.0.1:8080:80", r#"{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]}"#),
            ("[::1]:8080:80", r#"{"80/tcp":[{"HostIp":"::1","HostPort":"8080"}]}"#),
            ("1-2:3-4", r#"{"3/tcp":[{"HostIp":"","HostPort":"1"}],"4/tcp":[{"HostIp":"","HostPort":"2"}]}"#),
            ("8000-8010:80", r#"{"80/tcp":[{"HostIp":"","HostPort":"8000-8010"}]}"#),
            ("x", "invalid containerPort: x"),
            ("1-3:1-2", "invalid ranges specified for container and host Ports: 1-2 and 1-3"),
            ("1.2.3:1:2", "invalid IP address: 1.2.3"),
            ("80/xyz", "invalid proto: xyz"),
        ] {
            assert_eq!(published(spec), means, "{spec}");
        }
    }

    #[test]
    fn neighbours_are_one_range() {
        let port = |ip: &str, public: u64, private: u64| match ip {
            "" => json!({"PrivatePort": private, "Type": "tcp"}),
            _ => json!({"IP": ip, "PublicPort": public, "PrivatePort": private, "Type": "tcp"}),
        };
        assert_eq!(shown(&[port("", 0, 81), port("", 0, 80), port("", 0, 90)]), "80-81/tcp, 90/tcp");
        assert_eq!(
            shown(&[port("0.0.0.0", 8080, 80), port("::", 8080, 80), port("0.0.0.0", 443, 443)]),
            "0.0.0.0:443->443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
        );
    }
}
