//! All system tests in one binary: each file a chapter.

mod bad_input;
mod cluster;
mod discovery;
mod generic;
mod life;
mod pxe;
mod resume;
mod store;
mod wishes;
