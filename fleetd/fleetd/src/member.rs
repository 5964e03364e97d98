//! The machine's presence: one lease that all its keys hang on, granted anew whenever it is lost.

use std::sync::Arc;
use std::time::Duration;

use fleet_registry::{MachineRecord, Registry, RegistryError};
use kv_client::LeaseKeeper;
use tokio::sync::watch;

/// The lease as the other parts see it; nothing while the store does not answer.
pub type LeaseView = watch::Receiver<Option<Arc<LeaseKeeper>>>;

const PAUSE: Duration = Duration::from_millis(500);
/// A machine that was removed looks this often whether it was let in again.
const REMOVED_PAUSE: Duration = Duration::from_secs(10);

/// Keeps the machine registered until it is cancelled. Units are no concern of it: a lease that is
/// lost stops nothing.
pub async fn keep(
    registry: Registry,
    id: String,
    mut record: watch::Receiver<MachineRecord>,
    ttl: Duration,
    lease_out: watch::Sender<Option<Arc<LeaseKeeper>>>,
) {
    loop {
        let lease = match registry.machine_lease(ttl).await {
            Ok(lease) => Arc::new(lease),
            Err(error) => {
                tracing::warn!(machine = %id, error = &error as &dyn std::error::Error, "machine could not register");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let pause = hold(&registry, &id, &mut record, &lease, &lease_out).await;
        lease_out.send_replace(None);
        tokio::time::sleep(pause).await;
    }
}

/// Keeps the record under this lease; tells how long to pause when that is over.
async fn hold(
    registry: &Registry,
    id: &str,
    record: &mut watch::Receiver<MachineRecord>,
    lease: &Arc<LeaseKeeper>,
    lease_out: &watch::Sender<Option<Arc<LeaseKeeper>>>,
) -> Duration {
    loop {
        let current = record.borrow_and_update().clone();
        if let Err(error) = registry.register_machine(id, &current, lease).await {
            tracing::warn!(machine = %id, error = &error as &dyn std::error::Error, "machine could not register");
            return if matches!(error, RegistryError::Removed) { REMOVED_PAUSE } else { PAUSE };
        }
        if lease_out.borrow().is_none() {
            tracing::info!(machine = %id, lease = lease.id(), "machine registered");
            lease_out.send_replace(Some(Arc::clone(lease)));
        }
        tokio::select! {
            error = lease.lost() => {
                tracing::warn!(machine = %id, %error, "machine lost its lease; its units go on");
                return PAUSE;
            }
            changed = record.changed() => if changed.is_err() { return PAUSE },
        }
    }
}
