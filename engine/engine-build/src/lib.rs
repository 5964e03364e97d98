//! The classic builder behind `POST /build`: a Dockerfile and a context in, an image and Docker's lines out.
//!
//! It works on the image store directly; what it cannot do itself (run a step in a container, pull an image) it
//! asks of a [`Host`]. It never mounts anything another process could see and holds no state between builds.

mod host;
mod options;

pub use host::{BoxFuture, Host, RunStep, StepOutput};
pub use options::{BuildOptions, OptionError};
