//! All system tests in one binary: each file a chapter.

mod bad_input;
mod generic;
mod life;
mod resume;
mod store;
mod wishes;
