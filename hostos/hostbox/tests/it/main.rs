//! The image's programs as one executable, judged by the elders of this workstation.

mod session;
mod shell;
