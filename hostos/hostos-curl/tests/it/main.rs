//! curl's own program and ours, asked the same of the same server: the same output, exit code and
//! request must come of it. Where curl is not installed, only ours is checked, against what is written
//! here.

mod differential;
mod server;
