//! What tests of the fleet share: a real etcd on loopback ports of its own, a supervisor that speaks
//! the real wire and keeps account instead of processes, plain HTTP over a unix socket.
//!
//! Blocking and without a runtime: tests read from top to bottom. Everything that is started ends with
//! its value.

mod etcd;
mod http;
mod network;
mod supervisor;

pub use etcd::Etcd;
pub use http::{Answer, call, exchange};
pub use network::Network;
pub use supervisor::{Deed, Supervisor, What};

use std::net::TcpListener;
use std::time::{Duration, Instant};

/// A command that runs a program, behind these words if there are any.
#[must_use]
pub fn command_behind(behind: &[String], program: &str) -> std::process::Command {
    let mut words = behind.iter().map(String::as_str).chain([program]);
    let mut command = std::process::Command::new(words.next().expect("the program is one"));
    command.args(words);
    command
}

/// A port of the loopback that was free just now.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    listener.local_addr().expect("it is bound").port()
}

/// Looks until it is so, and tells how long that took.
///
/// # Panics
/// When it is not so within the limit.
pub fn eventually(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < limit, "after {limit:?} it is not so: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    began.elapsed()
}
