//! Replies that stream JSON as work goes on: pull, push, load, import, build.
//!
//! Each object ends with CRLF and is sent at once; a failure after the head is the last object.

use std::sync::Arc;

use engine_image::{Event, Sink};
use http::StatusCode;
use tokio::sync::mpsc;

use super::call::{Call, Done};
use crate::daemon::error::Refusal;

/// Events on their way to the client.
const QUEUE: usize = 256;

/// Collects events for the client. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reporter(mpsc::Sender<Event>);

impl Sink for Reporter {
    fn event(&self, event: Event) {
        // Progress bars may be lost to a slow client; words may not.
        if matches!(event, Event::Progress { .. }) || tokio::runtime::Handle::try_current().is_ok() {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.0.try_send(event)
                && !matches!(event, Event::Progress { .. })
            {
                let sender = self.0.clone();
                tokio::spawn(async move { sender.send(event).await });
            }
        } else {
            // The client may be gone.
            let _ = self.0.blocking_send(event);
        }
    }
}

/// Runs `work` on a task, streaming what it reports. A failure before the first event gets a status of its own.
/// With `cancel`, the work is given up when the client leaves.
pub(super) async fn stream<F>(
    call: &mut Call<'_>,
    cancel: bool,
    work: impl FnOnce(Arc<Reporter>) -> F,
) -> Done
where
    F: Future<Output = Result<(), Refusal>> + Send + 'static,
{
    let (sender, mut events) = mpsc::channel(QUEUE);
    let mut task = tokio::spawn(work(Arc::new(Reporter(sender))));
    let first = tokio::select! {
        event = events.recv() => event,
        () = call.ex.closed(), if cancel => {
            task.abort();
            return Ok(());
        }
    };
    let Some(first) = first else {
        finish(&mut task).await?;
        return Ok(call.ex.reply(StatusCode::OK, "application/json", b"").await?);
    };
    let mut reply = call.ex.stream(StatusCode::OK, "application/json").await?;
    let mut next = Some(first);
    while let Some(event) = next {
        let mut piece = line(&event);
        // What is ready goes out together.
        while piece.len() < 32 * 1024
            && let Ok(more) = events.try_recv()
        {
            piece.extend(line(&more));
        }
        reply.send(&piece).await?;
        next = tokio::select! {
            event = events.recv() => event,
            () = reply.closed(), if cancel => {
                task.abort();
                return Ok(());
            }
        };
    }
    if let Err(refusal) = finish(&mut task).await {
        let event = refusal.event.clone().unwrap_or(Event::Error { message: refusal.message, code: None });
        reply.send(&line(&event)).await?;
    }
    Ok(reply.end().await?)
}

async fn finish(task: &mut tokio::task::JoinHandle<Result<(), Refusal>>) -> Result<(), Refusal> {
    match task.await {
        Ok(done) => done,
        Err(error) => Err(Refusal::internal(format!("the work failed: {error}"))),
    }
}

fn line(event: &Event) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(event).unwrap_or_default();
    bytes.extend_from_slice(b"\r\n");
    bytes
}
