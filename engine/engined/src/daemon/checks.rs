//! What a create request may not ask for: modes that do not exist, and settings that contradict each other.
//!
//! Pure; the texts are Docker's. Limits are checked in [`super::settings`].

use engine_api::host_config::HostConfig;
use engine_image::RunConfig;

use super::publish;

/// Refuses what no container can be made of, before anything of it is filled in.
pub(crate) fn check(config: &RunConfig, host: &HostConfig) -> Result<(), String> {
    check_modes(host)?;
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return Err("conflicting options: hostname and the UTS mode".into());
    }
    if host.annotations.as_ref().is_some_and(|a| a.contains_key("")) {
        return Err("invalid Annotations: the empty string is not permitted as an annotation key".into());
    }
    check_hosts(host)?;
    if host.links.iter().flatten().any(String::is_empty) {
        return Err("empty string specified for links".into());
    }
    if let Some(link) = host.links.iter().flatten().find(|link| link.split(':').count() > 2) {
        return Err(format!("bad format for links: {link}"));
    }
    check_ports(config, host)?;
    if host.network_of().is_some() {
        check_shared_network(config, host)?;
    }
    Ok(())
}

fn check_modes(host: &HostConfig) -> Result<(), String> {
    let ipc = host.ipc_mode.as_str();
    let joins = |mode: &str| mode.strip_prefix("container:").is_some_and(|name| !name.is_empty());
    if !matches!(ipc, "" | "none" | "private" | "shareable" | "host") && !joins(ipc) {
        return Err(format!("invalid IPC mode: {ipc}"));
    }
    if !matches!(host.pid_mode.as_str(), "" | "host") && !joins(&host.pid_mode) {
        return Err(format!("invalid PID mode: {}", host.pid_mode));
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return Err(format!("invalid UTS mode: {}", host.uts_mode));
    }
    if !matches!(host.userns_mode.as_str(), "" | "host") {
        return Err(format!("invalid user namespace mode: {}", host.userns_mode));
    }
    if host.network_mode == "container:" {
        return Err("Invalid network mode: invalid container format container:<name|id>".into());
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "host" | "private") {
        return Err(format!("invalid cgroup namespace mode: {}", host.cgroupns_mode));
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        return Err(format!("Invalid isolation: \"{}\" - linux only supports 'default'", host.isolation));
    }
    Ok(())
}

/// `--add-host name:address`.
fn check_hosts(host: &HostConfig) -> Result<(), String> {
    for entry in host.extra_hosts.iter().flatten() {
        match entry.split_once([':', '=']) {
            Some((name, address)) if !name.is_empty() => {
                let bare = address.trim_start_matches('[').trim_end_matches(']');
                if address != "host-gateway" && bare.parse::<std::net::IpAddr>().is_err() {
                    return Err(format!("invalid IP address in add-host: {address:?}"));
                }
            }
            _ => return Err(format!("bad format for add-host: {entry:?}")),
        }
    }
    Ok(())
}

fn check_ports(config: &RunConfig, host: &HostConfig) -> Result<(), String> {
    for port in config.exposed_ports.keys() {
        publish::parse_exposed(port)?;
    }
    for (port, bindings) in host.port_bindings.iter().flatten() {
        publish::parse_port(port).map_err(|refusal| refusal.message)?;
        for binding in bindings {
            publish::parse_range(&binding.host_port).map_err(|refusal| refusal.message)?;
        }
    }
    Ok(())
}

/// The network of another container comes with that one's names, addresses and ports.
fn check_shared_network(config: &RunConfig, host: &HostConfig) -> Result<(), String> {
    let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
    let conflict = |what: &str| Err(format!("conflicting options: {what}"));
    if !config.hostname.is_empty() {
        return conflict("hostname and the network mode");
    }
    if some(&host.links) {
        return conflict(
            "container type network can't be used with links. This would result in undefined behavior",
        );
    }
    if some(&host.dns) {
        return conflict("dns and the network mode");
    }
    if some(&host.extra_hosts) {
        return conflict("custom host-to-IP mapping and the network mode");
    }
    if !config.mac_address.is_empty() {
        return conflict("mac-address and the network mode");
    }
    if host.publish_all_ports || host.port_bindings.as_ref().is_some_and(|p| !p.is_empty()) {
        return conflict("port publishing and the container type network mode");
    }
    if !config.exposed_ports.is_empty() {
        return conflict("port exposing and the container type network mode");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn list(items: &[&str]) -> Option<Vec<String>> {
        Some(items.iter().map(|s| (*s).to_owned()).collect())
    }

    #[test]
    fn nonsense_is_refused() {
        let none = HostConfig::default;
        let cases: [(HostConfig, &str); 11] = [
            (HostConfig { ipc_mode: "bad".into(), ..none() }, "invalid IPC mode: bad"),
            (HostConfig { ipc_mode: "container:".into(), ..none() }, "invalid IPC mode: container:"),
            (HostConfig { cgroupns_mode: "x".into(), ..none() }, "invalid cgroup namespace mode: x"),
            (HostConfig { pid_mode: "container".into(), ..none() }, "invalid PID mode: container"),
            (HostConfig { uts_mode: "x".into(), ..none() }, "invalid UTS mode: x"),
            (HostConfig { links: list(&[""]), ..none() }, "empty string specified for links"),
            (HostConfig { links: list(&["a:b:c"]), ..none() }, "bad format for links: a:b:c"),
            (
                HostConfig { annotations: Some(BTreeMap::from([(String::new(), "a".into())])), ..none() },
                "invalid Annotations: the empty string is not permitted as an annotation key",
            ),
            (HostConfig { extra_hosts: list(&["bad"]), ..none() }, "bad format for add-host: \"bad\""),
            (HostConfig { extra_hosts: list(&["a:b"]), ..none() }, "invalid IP address in add-host: \"b\""),
            (
                HostConfig {
                    port_bindings: Some(BTreeMap::from([("abc/tcp".into(), Vec::new())])),
                    ..none()
                },
                "invalid port specification: \"abc\"",
            ),
        ];
        for (host, text) in cases {
            assert_eq!(check(&RunConfig::default(), &host).unwrap_err(), text);
        }
        let fine = HostConfig { extra_hosts: list(&["a:::1", "b:host-gateway"]), ..none() };
        assert_eq!(check(&RunConfig::default(), &fine), Ok(()));
    }

    #[test]
    fn a_shared_network_brings_its_own_names() {
        let host = HostConfig { network_mode: "container:x".into(), ..HostConfig::default() };
        let named = RunConfig { hostname: "h".into(), ..RunConfig::default() };
        assert_eq!(check(&named, &host).unwrap_err(), "conflicting options: hostname and the network mode");
        let resolved = HostConfig { dns: list(&["1.1.1.1"]), ..host.clone() };
        assert!(check(&RunConfig::default(), &resolved).unwrap_err().contains("dns"));
        assert_eq!(check(&RunConfig::default(), &host), Ok(()));
    }
}
