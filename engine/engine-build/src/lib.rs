//! The classic builder behind `POST /build`: a Dockerfile and a context in, an image and Docker's lines out.
//!
//! It works on the image store directly; what it cannot do itself (run a step in a container, pull an image) it
//! asks of a [`Host`]. It never mounts anything another process could see and holds no state between builds.

mod arguments;
mod builder;
mod cache;
mod changes;
mod context;
mod copy;
mod dispatch;
pub mod dockerfile;
mod download;
mod error;
mod golang;
mod host;
mod ignore;
mod options;
mod ports;
mod signals;
mod users;

use std::io::BufRead;
use std::sync::Arc;

use engine_image::{Event, ImageId, Sink, Store, reference};
use tokio::sync::watch;

pub use changes::apply_changes;
pub use dockerfile::{Dockerfile, ParseError};
pub use download::Fetched;
pub use error::BuildError;
pub use host::{BoxFuture, Host, RunStep, StepOutput, StepStream};
pub use ignore::Ignore;
pub use options::{BuildOptions, OptionError};

/// Builds. Events go to `sink`; an error that comes before the first event is meant for the answer's status,
/// a later one for the stream ([`BuildError::event`]). Dropping the future cancels the build and leaves nothing.
///
/// `context` is read on a blocking thread (see `engine_image::pipe`).
pub async fn build(
    store: Store,
    host: Arc<dyn Host>,
    options: BuildOptions,
    context: impl BufRead + Send + 'static,
    sink: Arc<dyn Sink>,
) -> Result<ImageId, BuildError> {
    let runtime = tokio::runtime::Handle::current();
    // Dropped with this future, which tells the blocking side.
    let (alive, cancelled) = watch::channel(false);
    let work = tokio::task::spawn_blocking(move || {
        build_blocking(store, host, options, context, sink, runtime, cancelled)
    });
    let built = work.await.unwrap_or_else(|_| Err(BuildError::failed("the builder panicked")));
    drop(alive);
    built
}

fn build_blocking(
    store: Store,
    host: Arc<dyn Host>,
    options: BuildOptions,
    context: impl BufRead + Send,
    sink: Arc<dyn Sink>,
    runtime: tokio::runtime::Handle,
    cancelled: watch::Receiver<bool>,
) -> Result<ImageId, BuildError> {
    if !options.remote.is_empty() {
        return Err(BuildError::bad_request(
            "only http:// and https:// contexts are fetched; clone the repository and send it (docker build DIR)",
        ));
    }
    let tags = options.tags.iter().map(|tag| tag_of(tag)).collect::<Result<Vec<_>, _>>()?;
    let context = context::Context::receive(&store, context)?;
    let dockerfile = Dockerfile::parse(&context.dockerfile(&options.dockerfile)?)?;
    let sources = options.cache_from.iter().filter_map(|name| store.lookup(name).ok()).collect();
    let cache_sources = Some(sources).filter(|_| !options.cache_from.is_empty());
    let options = Arc::new(options);
    let mut builder = builder::Builder {
        store: store.clone(),
        host: host.clone(),
        sink: sink.clone(),
        context,
        runtime,
        cancelled,
        escape: '\\',
        arguments: arguments::Arguments::new(&options.build_args),
        cache_sources,
        cache_missed: false,
        finished: Vec::new(),
        stage: builder::Current::default(),
        options: options.clone(),
    };
    let image = builder.build(dockerfile)?;
    builder.print(&format!("Successfully built {}\n", image.short()));
    for tag in &tags {
        store.tag(&image, tag)?;
        host.image_event("tag", &image, &tag.to_string());
        builder.print(&format!("Successfully tagged {tag}\n"));
    }
    if options.quiet {
        sink.event(Event::stream(format!("{image}\n")));
    }
    Ok(image)
}

fn tag_of(text: &str) -> Result<reference::Reference, BuildError> {
    let tag =
        reference::Reference::parse(text).map_err(|error| BuildError::bad_request(error.to_string()))?;
    if tag.digest().is_some() {
        return Err(BuildError::bad_request("build tag cannot contain a digest"));
    }
    Ok(tag.with_default_tag())
}
