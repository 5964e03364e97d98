//! The scheduler of the cluster, while this machine leads: feeds what changes into the view, writes
//! the moves that come out.

use std::time::Duration;

use fleet_registry::{Lead, Registry, RegistryError};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::view::View;

/// So short that it is over before the least that a machine's lease can have left, so that a leader that
/// dies with its machine is replaced before the machine is given up, and an outage costs the lead first.
const LEAD_TTL: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(500);
/// Changes that come close together are decided together.
const GATHER: Duration = Duration::from_millis(5);

/// Leads whenever nobody else does, until it is cancelled.
pub async fn run(
    registry: Registry,
    machine: String,
    interval: Duration,
    grace: Duration,
    metrics: std::sync::Arc<Metrics>,
) {
    // After an outage of the store, machines may not have come back yet: that is no reason to move
    // their units. An outage that costs a machine its lease costs the shorter lead first, or the wait
    // for it; and a daemon that has just begun may have been part of the outage.
    let mut troubled = Instant::now();
    loop {
        match registry.lead(&machine, LEAD_TTL).await {
            Ok(lead) => {
                tracing::info!(machine = %machine, fence = lead.fence(), "scheduler leads");
                metrics.leads();
                let ended = govern(&registry, &lead, interval, troubled + grace, &metrics).await;
                troubled = Instant::now();
                metrics.leads_no_more();
                if let Err(error) = ended {
                    metrics.pass_failed();
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(machine = %machine, error, "scheduler gives up its lead");
                }
                lead.resign().await;
            }
            Err(error) => {
                troubled = Instant::now();
                tracing::debug!(machine = %machine, error = &error as &dyn std::error::Error, "no lead yet");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Schedules until the lead is lost or something fails; then the view is not to be trusted any more.
/// Until a time it is patient with machines that are not there.
async fn govern(
    registry: &Registry,
    lead: &Lead,
    interval: Duration,
    patient_until: Instant,
    metrics: &Metrics,
) -> Result<(), RegistryError> {
    let snapshot = registry.snapshot().await?;
    let mut watch = registry.watch_all(snapshot.revision).await?.without_states();
    let mut view = View::new(snapshot);
    loop {
        let waits = !view.absent_machines().is_empty() && Instant::now() < patient_until;
        if !waits {
            let began = Instant::now();
            let moves = view.moves();
            if let Err(error) = registry.apply_moves(&moves, lead).await {
                metrics.tasks_failed(moves.len());
                return Err(error);
            }
            metrics.pass(moves.len(), began.elapsed());
        }
        let again = if waits { patient_until } else { Instant::now() + interval };
        tokio::select! {
            () = lead.lost() => return Err(RegistryError::Deposed),
            changes = watch.next() => {
                changes?.changes.into_iter().for_each(|change| view.apply(change));
                while let Ok(more) = tokio::time::timeout(GATHER, watch.next()).await {
                    more?.changes.into_iter().for_each(|change| view.apply(change));
                }
            }
            () = tokio::time::sleep_until(again) => {}
        }
    }
}
