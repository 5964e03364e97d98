//! Signals that tell the engine to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves when the engine is to stop.
pub(crate) struct Stop {
    term: Signal,
    int: Signal,
}

impl Stop {
    pub(crate) fn install() -> std::io::Result<Stop> {
        Ok(Stop { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
