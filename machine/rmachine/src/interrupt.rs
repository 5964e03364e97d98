//! Ctrl-C and SIGTERM as a switch: the first one asks commands to clean up and end, the second ends
//! the program at once.

use std::thread;

use machine_core::driver::Cancel;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Throws `cancel` at the first signal. The thread lives as long as the program.
pub(crate) fn watch(cancel: &Cancel) {
    let cancel = cancel.clone();
    let spawned = thread::Builder::new().name("signals".into()).spawn(move || {
        let Ok(runtime) = Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            let (Ok(mut int), Ok(mut term)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            for turn in 0.. {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                }
                if turn > 0 {
                    std::process::exit(130);
                }
                eprintln!("interrupted: cleaning up (press Ctrl-C again to leave at once)");
                cancel.cancel();
            }
        });
    });
    if let Err(error) = spawned {
        tracing::debug!(%error, "no thread for signals");
    }
}
