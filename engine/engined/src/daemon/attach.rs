//! Clients that want a container's streams: those of the running program, or of the next one.

use std::sync::Mutex;

use engine_runtime::{SessionStream, Streams};
use tokio::sync::oneshot;

use super::container::Container;
use super::error::Result;

/// Clients waiting for the program to be there. They are served before it runs its first instruction.
#[derive(Default)]
pub(crate) struct Attachers(Mutex<Vec<(Streams, oneshot::Sender<SessionStream>)>>);

/// The streams, now or when the program is there.
pub(crate) enum Attached {
    Now(SessionStream),
    Later(oneshot::Receiver<SessionStream>),
}

impl Container {
    pub(crate) async fn attach(&self, streams: Streams) -> Result<Attached> {
        if let Some(program) = self.program() {
            return Ok(Attached::Now(program.attach(streams).await?));
        }
        let (send, receive) = oneshot::channel();
        let mut waiting = self.attachers.0.lock().expect("no code panics holding it");
        waiting.retain(|(_, other)| !other.is_closed());
        waiting.push((streams, send));
        Ok(Attached::Later(receive))
    }

    /// Connects everybody who waits.
    pub(crate) async fn serve_attachers(&self, program: &engine_runtime::Container) {
        let waiting = std::mem::take(&mut *self.attachers.0.lock().expect("no code panics holding it"));
        for (streams, client) in waiting {
            if client.is_closed() {
                continue;
            }
            match program.attach(streams).await {
                // The client may have left meanwhile.
                Ok(session) => drop(client.send(session)),
                Err(error) => {
                    tracing::warn!(container = %self.id, %error, "could not attach a waiting client")
                }
            }
        }
    }

    /// The program will not come; those who wait are let go.
    pub(crate) fn drop_attachers(&self) {
        self.attachers.0.lock().expect("no code panics holding it").clear();
    }
}
