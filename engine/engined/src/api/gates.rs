//! What a create request means depends on the version it is made in: fields that came later are not read
//! in earlier ones, and a few defaults have changed.

use engine_api::ApiVersion;
use engine_api::host_config::{HostConfig, Mount};

use super::call::Fail;
use crate::daemon::create::CreateRequest;

/// Makes a request what a client of `version` means by it. What comes back is a warning for the client.
pub(super) fn adapt_create(request: &mut CreateRequest, version: ApiVersion) -> Result<Option<String>, Fail> {
    let before = |minor| version < ApiVersion::v1(minor);
    let CreateRequest { config, host, networking, flat_readonly, .. } = request;
    if before(25) {
        // Clients removed their containers themselves.
        host.auto_remove = false;
    }
    if before(40) && host.ipc_mode.is_empty() {
        host.ipc_mode = "shareable".into();
    }
    adapt_mounts(host, version)?;
    if before(42) {
        host.console_size = [0, 0];
    }
    if before(43) {
        host.annotations = None;
    }
    if before(44) {
        if let Some(health) = &mut config.healthcheck {
            health.start_interval = 0;
        }
        *flat_readonly = true;
        let endpoints = &networking.endpoints_config;
        if endpoints.len() > 1 {
            let names: Vec<&str> = endpoints.keys().map(String::as_str).collect();
            return Err(Fail::bad(format!(
                "Container cannot be created with multiple network endpoints: {}",
                names.join(", ")
            )));
        }
    }
    if host.pids_limit.is_some_and(|n| n <= 0) {
        host.pids_limit = None;
    }
    if before(44) { Ok(None) } else { adapt_address(request) }
}

fn adapt_mounts(host: &mut HostConfig, version: ApiVersion) -> Result<(), Fail> {
    let before = |minor| version < ApiVersion::v1(minor);
    for mount in host.mounts.iter_mut().flatten() {
        if !before(42) {
            check_options(mount)?;
        }
        if let Some(options) = &mut mount.bind_options {
            options.non_recursive &= !before(40);
            options.create_mountpoint &= !before(42);
            if options.read_only_force_recursive && before(44) {
                return Err(Fail::bad("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"));
            }
        }
        if before(45) && mount.volume_options.as_ref().is_some_and(|o| !o.subpath.is_empty()) {
            return Err(Fail::bad("VolumeOptions.Subpath needs API v1.45 or newer"));
        }
    }
    Ok(())
}

fn check_options(mount: &Mount) -> Result<(), Fail> {
    for (there, kind, field) in [
        (mount.volume_options.is_some(), "volume", "VolumeOptions"),
        (mount.bind_options.is_some(), "bind", "BindOptions"),
        (mount.tmpfs_options.is_some(), "tmpfs", "TmpfsOptions"),
    ] {
        if there && mount.kind != kind {
            return Err(Fail::bad(format!("{field} must not be specified on mount type {:?}", mount.kind)));
        }
    }
    Ok(())
}

/// The container's own MAC address has become its main network's.
fn adapt_address(request: &mut CreateRequest) -> Result<Option<String>, Fail> {
    if request.config.mac_address.is_empty() {
        return Ok(None);
    }
    let address = std::mem::take(&mut request.config.mac_address);
    let mode = request.host.network().to_owned();
    if !matches!(mode.as_str(), "host" | "none") && !mode.starts_with("container:") {
        let endpoints = &mut request.networking.endpoints_config;
        // The default network goes by two names.
        let key = if mode == "bridge" && endpoints.contains_key("default") { "default".into() } else { mode };
        if !endpoints.is_empty() && !endpoints.contains_key(&key) {
            return Err(Fail::bad(
                "if a container-wide MAC address is supplied, HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks",
            ));
        }
        let own = endpoints.entry(key).or_default();
        if own.mac_address.is_empty() {
            own.mac_address = address;
        } else if own.mac_address != address {
            return Err(Fail::bad(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty",
            ));
        }
    }
    Ok(Some(
        "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
            .into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_api::host_config::{BindOptions, VolumeOptions};

    fn request(host: HostConfig) -> CreateRequest {
        CreateRequest {
            name: String::new(),
            config: engine_image::RunConfig::default(),
            host,
            networking: engine_api::container::NetworkingConfig::default(),
            platform: None,
            flat_readonly: false,
        }
    }

    fn refused(host: HostConfig, minor: u32) -> String {
        match adapt_create(&mut request(host), ApiVersion::v1(minor)) {
            Err(Fail::Refused(_, message)) => message,
            other => format!("{other:?}"),
        }
    }

    fn mounts(mount: Mount) -> HostConfig {
        HostConfig { mounts: Some(vec![mount]), ..HostConfig::default() }
    }

    #[test]
    fn later_fields_are_not_read() {
        let bind = BindOptions { create_mountpoint: true, non_recursive: true, ..BindOptions::default() };
        let mount = Mount { kind: "bind".into(), bind_options: Some(bind), ..Mount::default() };
        let mut old = request(HostConfig { auto_remove: true, ..mounts(mount) });
        assert!(adapt_create(&mut old, ApiVersion::v1(24)).is_ok());
        assert!(!old.host.auto_remove && old.flat_readonly && old.host.ipc_mode == "shareable");
        assert_eq!(old.host.mounts.unwrap()[0].bind_options, Some(BindOptions::default()));
    }

    #[test]
    fn what_is_refused_where() {
        let part = VolumeOptions { subpath: "a".into(), ..VolumeOptions::default() };
        let mount = Mount { kind: "volume".into(), volume_options: Some(part), ..Mount::default() };
        assert_eq!(refused(mounts(mount.clone()), 44), "VolumeOptions.Subpath needs API v1.45 or newer");
        assert_eq!(refused(mounts(mount.clone()), 45), "Ok(None)");
        let wrong = Mount { kind: "bind".into(), ..mount };
        assert_eq!(refused(mounts(wrong), 45), "VolumeOptions must not be specified on mount type \"bind\"");
    }

    #[test]
    fn one_address_for_the_main_network() {
        let mut one = request(HostConfig::default());
        one.config.mac_address = "02:00:00:00:00:01".into();
        assert!(adapt_create(&mut one, ApiVersion::v1(50)).unwrap().unwrap().contains("deprecated"));
        assert_eq!(one.networking.endpoints_config["bridge"].mac_address, "02:00:00:00:00:01");
        assert!(one.config.mac_address.is_empty());
        one.config.mac_address = "02:00:00:00:00:02".into();
        assert!(adapt_create(&mut one, ApiVersion::v1(50)).is_err());
    }
}
