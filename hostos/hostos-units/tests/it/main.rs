//! Tests of the supervisor as a process of its own: behaviour compared with systemd's, and what
//! only shows with real processes. They need root and a writable cgroup v2, and say so otherwise.

mod case;
mod differential;
mod journal;
mod rights;
mod stress;
mod world;
