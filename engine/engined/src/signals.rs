//! Signals that tell the engine to stop; SIGHUP, which asks for what it does not do, is answered in the log.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves when the engine is to stop.
pub(crate) struct Stop {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Stop {
    pub(crate) fn install() -> std::io::Result<Stop> {
        Ok(Stop {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    pub(crate) async fn wait(&mut self) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.hup.recv() => tracing::warn!(
                    "SIGHUP: settings are read at the start; restart the engine, its containers run on"
                ),
            }
        }
    }
}
