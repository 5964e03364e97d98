//! Lets what is ready to be sent gather.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// A connection that goes to the end of the queue each time it is woken.
///
/// Each answer of its streams wakes it, and tokio runs first what was woken last: without this it writes every event
/// to every watcher by a call of its own.
pub(super) struct Patient<F> {
    connection: Pin<Box<F>>,
    waited: bool,
}

impl<F: Future> Patient<F> {
    pub(super) fn new(connection: F) -> Self {
        Self { connection: Box::pin(connection), waited: false }
    }
}

impl<F: Future> Future for Patient<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.waited = !self.waited;
        if self.waited {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.connection.as_mut().poll(context)
    }
}
