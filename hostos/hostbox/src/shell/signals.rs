//! Signals for traps: `trap` also tells the kernel what to do with a signal, and what arrives is handed on.
#![allow(unsafe_code, reason = "what becomes of a signal is set by sigaction")]

use std::sync::{Mutex, OnceLock, PoisonError};

use brush_core::builtins::{BoxFuture, CommandExecuteFunc};
use brush_core::extensions::DefaultShellExtensions;
use brush_core::traps::TrapSignal;
use brush_core::{CommandArg, Error, ExecutionContext, ExecutionResult, Shell};
use nix::sys::signal::{SigHandler, Signal, signal};
use tokio::signal::unix::{SignalKind, signal as listen};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// More than anyone sends before the first is taken.
const WAITING: usize = 16;

/// A signal that a trap is set for.
pub(super) struct Arrival {
    pub(super) signal: TrapSignal,
    /// How the shell ends because of it, unless the trap says otherwise.
    pub(super) code: u8,
}

static SENDER: Mutex<Option<Sender<Arrival>>> = Mutex::new(None);
static TRAP: OnceLock<CommandExecuteFunc<DefaultShellExtensions>> = OnceLock::new();

/// Where they arrive.
pub(super) fn arrivals() -> Receiver<Arrival> {
    let (sender, receiver) = channel(WAITING);
    *SENDER.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
    receiver
}

/// Makes `trap` of this shell tell us.
pub(super) fn watch_traps(shell: &mut Shell) {
    if let Some(trap) = shell.builtin_mut("trap") {
        let _ = TRAP.set(trap.execute_func);
        trap.execute_func = trap_and_arm;
    }
}

fn trap_and_arm(
    context: ExecutionContext<'_>,
    args: Vec<CommandArg>,
) -> BoxFuture<'_, Result<ExecutionResult, Error>> {
    // A subshell is the same process: its traps are not the process'.
    if !context.shell.is_subshell() {
        arm(&args.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    TRAP.get().expect("it was set before")(context, args)
}

/// `words` start with the name of the command.
fn arm(words: &[String]) {
    let words = words.get(1..).unwrap_or_default();
    let words = words.strip_prefix(&["--".to_owned()]).unwrap_or(words);
    let (handler, names) = match words {
        [] => return,
        [first, ..] if first.starts_with('-') && first.len() > 1 => return,
        [only] => ("-", std::slice::from_ref(only)),
        [handler, names @ ..] => (handler.as_str(), names),
    };
    for name in names {
        let Ok(trap) = name.parse::<TrapSignal>() else { continue };
        let Ok(number) = i32::try_from(trap) else { continue };
        // EXIT counts as 0 and is no signal.
        let Ok(kind) = Signal::try_from(number) else { continue };
        match handler {
            "-" => dispose(kind, SigHandler::SigDfl),
            "" => dispose(kind, SigHandler::SigIgn),
            _ => forward(trap, number),
        }
    }
}

fn dispose(kind: Signal, what: SigHandler) {
    // SAFETY: neither of the two is a function that could be called at a bad moment.
    let _ = unsafe { signal(kind, what) };
}

fn forward(trap: TrapSignal, number: i32) {
    let sender = SENDER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (Some(sender), Ok(mut stream)) = (sender, listen(SignalKind::from_raw(number))) else { return };
    let code = u8::try_from(128 + number).unwrap_or(u8::MAX);
    tokio::spawn(async move {
        while stream.recv().await.is_some() {
            // One that waits already is enough.
            let _ = sender.try_send(Arrival { signal: trap, code });
        }
    });
}
