//! All system tests in one binary: each file a chapter.

mod bad_input;
mod life;
mod store;
