//! Answers of systemd's own tools, kept as text, and ours beside them.

mod calendar;
mod names;
mod spans;
