//! The terminal this client was started at, and the signals it is sent.

use std::io::{self, IsTerminal};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::http::{Body, Client, escape};

/// Every key goes to the container while this lives.
pub(crate) struct Raw(Termios);

impl Raw {
    /// Nothing if stdin is no terminal.
    pub(crate) fn enter() -> Option<Raw> {
        let saved = io::stdin().is_terminal().then(|| tcgetattr(io::stdin()).ok()).flatten()?;
        let mut raw = saved.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &raw).ok()?;
        Some(Raw(saved))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone; then nobody misses its old state.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// `?h=…&w=…` of our terminal, if there is one.
fn size() -> Option<String> {
    let (columns, rows) = terminal_size::terminal_size()?;
    Some(format!("h={}&w={}", rows.0, columns.0))
}

/// What becomes of the signals that the client gets while it waits for a container.
pub(crate) struct Signals(SigSet);

impl Signals {
    /// Keeps them until [`Signals::pass_on`]. Before any thread is started, so that all of them inherit it.
    pub(crate) fn hold(tty: bool, proxy: bool) -> Signals {
        let mut set = SigSet::empty();
        if tty {
            set.add(Signal::SIGWINCH);
        } else if proxy {
            for signal in [
                Signal::SIGHUP,
                Signal::SIGINT,
                Signal::SIGQUIT,
                Signal::SIGTERM,
                Signal::SIGUSR1,
                Signal::SIGUSR2,
            ] {
                set.add(signal);
            }
        }
        // Without it signals end the client alone, as without --sig-proxy.
        let _ = set.thread_block();
        Signals(set)
    }

    /// Passes signals to a container, and the terminal's size to `resize`, for as long as the client lives.
    pub(crate) fn pass_on(self, client: &Client, id: &str, resize: String) {
        let (client, id) = (client.clone(), escape(id));
        fit(&client, &resize);
        thread::spawn(move || {
            while let Ok(signal) = self.0.wait() {
                if signal == Signal::SIGWINCH {
                    fit(&client, &resize);
                    continue;
                }
                let name = signal.as_str().trim_start_matches("SIG");
                // The container may have ended; then the client does too.
                let _ = client.send("POST", &format!("/containers/{id}/kill?signal={name}"), Body::None);
            }
        });
    }
}

/// Tells the container how large the terminal is. `path` ends before the query.
fn fit(client: &Client, path: &str) {
    if let Some(size) = size()
        && !path.is_empty()
    {
        // What has just ended needs no size.
        let _ = client.send("POST", &format!("{path}?{size}"), Body::None);
    }
}
