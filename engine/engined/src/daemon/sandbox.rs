//! A container's network while it runs.

use std::sync::Arc;

use engine_api::network::EndpointSettings;
use engine_runtime::spec::{Mount, Namespace};

use super::Daemon;
use super::container::Container;
use super::error::{Refusal, Result};
use super::spec::file_mount;

/// What must be given back when the program ends.
pub(crate) struct Sandbox {}

impl Daemon {
    pub(crate) async fn build_sandbox(
        self: &Arc<Self>,
        container: &Arc<Container>,
    ) -> Result<(Namespace, Vec<Mount>)> {
        let (host, hostname) = {
            let record = container.record();
            (record.host.clone(), record.config.hostname.clone())
        };
        let path = container.dir.join("hostname");
        std::fs::write(&path, format!("{hostname}\n"))?;
        let files = vec![file_mount(&path, "/etc/hostname", false)];
        let net = match host.network() {
            "host" => Namespace::Host,
            _ => match host.network_of() {
                Some(other) => {
                    let other = self.containers.find(other)?;
                    let program = other.program().ok_or_else(|| {
                        Refusal::conflict(format!(
                            "cannot join network of a non running container: {}",
                            other.id
                        ))
                    })?;
                    Namespace::Join(program.namespace("net"))
                }
                None => Namespace::New,
            },
        };
        Ok((net, files))
    }

    pub(crate) async fn network_ready(
        &self,
        _container: &Container,
        _program: &engine_runtime::Container,
    ) -> Result<()> {
        Ok(())
    }

    pub(crate) async fn adopt_sandbox(self: &Arc<Self>, _container: &Arc<Container>) -> Result<()> {
        Ok(())
    }

    pub(crate) async fn release_sandbox(&self, _container: &Container) {}

    pub(crate) fn forget_endpoints(&self, _container: &Container) {}

    pub(crate) fn renamed_in_networks(&self, _container: &Container) {}

    pub(crate) fn check_endpoint(
        &self,
        _id: &str,
        _name: &str,
        _settings: &mut EndpointSettings,
    ) -> Result<()> {
        Ok(())
    }
}
