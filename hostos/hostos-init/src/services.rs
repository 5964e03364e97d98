//! Starts the daemons of the machine and starts them again when they end.
//!
//! The unit supervisor takes this over as soon as it is there.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::task::JoinSet;
use tracing::warn;

/// The daemons that the image has.
const DAEMONS: &[&str] = &["/usr/bin/sshd", "/usr/bin/engined"];

/// Daemons that run as long as this value lives.
pub(crate) struct Services {
    _tasks: JoinSet<()>,
}

pub(crate) fn has(program: &str) -> bool {
    Path::new(program).exists()
}

pub(crate) fn start() -> Services {
    let mut tasks = JoinSet::new();
    for program in DAEMONS.iter().filter(|program| has(program)) {
        tasks.spawn(supervise(program));
    }
    Services { _tasks: tasks }
}

async fn supervise(program: &'static str) {
    loop {
        let mut command = Command::new(program);
        command.env("PATH", "/opt/bin:/usr/local/bin:/usr/bin").stdin(Stdio::null()).kill_on_drop(true);
        match command.spawn() {
            Ok(mut child) => {
                let status = child.wait().await;
                warn!(program, ?status, "daemon ended");
            }
            Err(error) => warn!(program, %error, "daemon not started"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
