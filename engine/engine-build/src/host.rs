//! What the builder needs of the engine around it.

use std::sync::Arc;

use engine_image::{Reference, RunConfig, Sink, Writable};

pub type BoxFuture<'a, T> = futures_util::future::BoxFuture<'a, T>;

/// Which of its two streams a step printed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepStream {
    Stdout,
    Stderr,
}

/// Receives what a step prints, in order, from any thread. Each call becomes one message.
pub type StepOutput = Arc<dyn Fn(StepStream, &[u8]) + Send + Sync>;

/// A `RUN`: one command in a container on a writable layer of the builder's.
pub struct RunStep {
    /// Container ID, 64 hex digits; the builder has shown its beginning already.
    pub id: String,
    /// The layer to run on. It stays the builder's: the host mounts it, and has it unmounted when `run` is over.
    pub layer: Arc<Writable>,
    /// Environment, user, working folder, labels; `entrypoint` is empty, `cmd` the whole command.
    pub config: RunConfig,
    /// `networkmode`, `memory`, `shmsize`, `ulimits` … as the client sent them.
    pub limits: Arc<super::BuildOptions>,
    /// Leave the container behind for `docker ps -a` when it fails (`forcerm` not given).
    /// The host may ignore this.
    pub keep_on_failure: bool,
}

/// The engine as the builder sees it. Errors are sentences for the user.
pub trait Host: Send + Sync {
    /// Runs the step to its end; the exit code, or why it could not run (`OCI runtime create failed: …`).
    /// Dropping the future must kill the step and unmount its layer before anything else touches it.
    fn run(&self, step: RunStep, output: StepOutput) -> BoxFuture<'_, Result<i64, String>>;

    /// Pulls an image, reporting to `sink` as `POST /images/create` does.
    fn pull<'a>(
        &'a self,
        reference: &'a Reference,
        platform: &'a str,
        sink: Arc<dyn Sink>,
    ) -> BoxFuture<'a, Result<(), String>>;

    /// Fetches a file into `into`, reporting to `sink`; never with credentials.
    fn download<'a>(
        &'a self,
        url: &'a str,
        into: std::fs::File,
        sink: Arc<dyn Sink>,
    ) -> BoxFuture<'a, Result<crate::Fetched, String>>;

    /// An image was made, tagged or untagged: for the event stream.
    fn image_event(&self, action: &str, image: &engine_image::ImageId, name: &str) {
        let _ = (action, image, name);
    }
}
