//! Signals for traps: `trap` also tells the kernel what to do with a signal. What arrives waits until the
//! command that runs has ended, as in bash; the crate's DEBUG trap, which runs before each command, is
//! where we take it up.
#![allow(unsafe_code, reason = "what becomes of a signal is set by sigaction")]

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use brush_core::builtins::{BoxFuture, CommandExecuteFunc};
use brush_core::extensions::DefaultShellExtensions;
use brush_core::traps::TrapSignal;
use brush_core::{
    CommandArg, Error, ExecutionContext, ExecutionControlFlow, ExecutionResult, Shell, SourceInfo,
};
use nix::sys::signal::{SigHandler, Signal, signal};
use tokio::signal::unix::{SignalKind, signal as listen};
use tokio::sync::Notify;

use super::rewrite;

/// More than anyone sends before the first is taken.
const WAITING: usize = 16;

/// The command that takes up what has arrived.
pub(super) const DELIVER: &str = "__run_traps";

/// A signal that a trap is set for.
struct Arrival {
    signal: TrapSignal,
    /// How the shell ends because of it, unless the trap says otherwise.
    code: u8,
}

static ARRIVED: Mutex<VecDeque<Arrival>> = Mutex::new(VecDeque::new());
static ARRIVAL: Notify = Notify::const_new();
static TRAP: OnceLock<CommandExecuteFunc<DefaultShellExtensions>> = OnceLock::new();

/// Waits for a signal that nobody has taken up, and says how a command ends that it interrupts.
pub(super) async fn arrived() -> u8 {
    loop {
        let next = ARRIVAL.notified();
        if let Some(code) = waiting() {
            return code;
        }
        next.await;
    }
}

/// A signal that nobody has taken up, and how a shell ends because of it.
pub(super) fn waiting() -> Option<u8> {
    ARRIVED.lock().unwrap_or_else(PoisonError::into_inner).front().map(|arrival| arrival.code)
}

fn take() -> Option<Arrival> {
    ARRIVED.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// Makes `trap` of this shell tell us.
pub(super) fn watch_traps(shell: &mut Shell) {
    if let Some(trap) = shell.builtin_mut("trap") {
        let _ = TRAP.set(trap.execute_func);
        trap.execute_func = trap_and_arm;
    }
}

/// Runs the traps of all signals that have arrived. A trap that exits ends the process.
pub(super) async fn deliver(shell: &mut Shell) {
    let before = shell.last_exit_status();
    while let Some(arrival) = take() {
        let Some(handler) = shell.traps().get_handler(arrival.signal).cloned() else { continue };
        let params = shell.default_exec_params();
        let result = rewrite::run(shell, &handler.command, &handler.source_info, &params).await;
        if let Ok(result) = result
            && matches!(result.next_control_flow, ExecutionControlFlow::ExitShell)
        {
            let _ = shell.on_exit().await;
            std::process::exit(u8::from(result.exit_code).into());
        }
    }
    shell.set_last_exit_status(before);
}

/// The command [`DELIVER`].
pub(super) fn run_traps(
    context: ExecutionContext<'_>,
    _args: Vec<CommandArg>,
) -> BoxFuture<'_, Result<ExecutionResult, Error>> {
    Box::pin(async move {
        // A subshell is a task of this process: signals are not for it.
        if !context.shell.is_subshell() {
            deliver(context.shell).await;
        }
        Ok(ExecutionResult::success())
    })
}

fn trap_and_arm(
    context: ExecutionContext<'_>,
    mut args: Vec<CommandArg>,
) -> BoxFuture<'_, Result<ExecutionResult, Error>> {
    let words: Vec<String> = args.iter().skip(1).map(ToString::to_string).collect();
    if words.is_empty() || words[0] == "-p" {
        return Box::pin(async move {
            list(&context, words.get(1..).unwrap_or_default());
            Ok(ExecutionResult::success())
        });
    }
    let plain = usize::from(words.first().is_some_and(|word| word == "--"));
    if let [handler, names @ ..] = &words[plain..]
        && !handler.is_empty()
        && !names.is_empty()
    {
        let mut handler = rewrite::in_word(handler);
        if names.iter().any(|name| name == "DEBUG") && handler != "-" {
            handler = format!("{DELIVER}; {handler}");
        }
        args[1 + plain] = CommandArg::String(handler);
    }
    // A subshell is the same process: its traps are not the process'.
    if !context.shell.is_subshell() && arm(&words[plain..]) {
        hook(context.shell);
    }
    TRAP.get().expect("it was set before")(context, args)
}

/// Has [`DELIVER`] run before each command, in functions too.
fn hook(shell: &mut Shell) {
    shell.options_mut().shell_functions_inherit_debug_and_return_traps = true;
    if !shell.traps().handles(TrapSignal::Debug) {
        shell.traps_mut().register_handler(TrapSignal::Debug, DELIVER.to_owned(), SourceInfo::default());
    }
}

/// The traps of `names`, or all but ours, in the order of their numbers.
fn list(context: &ExecutionContext<'_>, names: &[String]) {
    let named: Vec<TrapSignal> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let mut handlers: Vec<_> = context.shell.traps().iter_handlers().collect();
    handlers.retain(|(signal, handler)| {
        handler.command != DELIVER && (names.is_empty() || named.contains(signal))
    });
    handlers.sort_by_key(|(signal, _)| i32::try_from(*signal).unwrap_or(i32::MAX));
    let mut stdout = context.stdout();
    for (signal, handler) in handlers {
        let text = handler.command.replace('\'', "'\\''");
        let _ = writeln!(stdout, "trap -- '{text}' {signal}");
    }
}

/// Tells the kernel. Whether a signal is to be waited for.
fn arm(words: &[String]) -> bool {
    let (handler, names) = match words {
        [first, ..] if first.starts_with('-') && first.len() > 1 => return false,
        [only] => ("-", std::slice::from_ref(only)),
        [handler, names @ ..] => (handler.as_str(), names),
        [] => return false,
    };
    let mut waits = false;
    for name in names {
        let Ok(trap) = name.parse::<TrapSignal>() else { continue };
        let Ok(number) = i32::try_from(trap) else { continue };
        // EXIT counts as 0 and is no signal.
        let Ok(kind) = Signal::try_from(number) else { continue };
        match handler {
            "-" => dispose(kind, SigHandler::SigDfl),
            "" => dispose(kind, SigHandler::SigIgn),
            _ => {
                waits = true;
                forward(trap, number);
            }
        }
    }
    waits
}

fn dispose(kind: Signal, what: SigHandler) {
    // SAFETY: neither of the two is a function that could be called at a bad moment.
    let _ = unsafe { signal(kind, what) };
}

fn forward(trap: TrapSignal, number: i32) {
    let Ok(mut stream) = listen(SignalKind::from_raw(number)) else { return };
    let code = u8::try_from(128 + number).unwrap_or(u8::MAX);
    tokio::spawn(async move {
        while stream.recv().await.is_some() {
            let mut arrived = ARRIVED.lock().unwrap_or_else(PoisonError::into_inner);
            // One of a kind that waits already is enough, as it is to the kernel.
            if arrived.len() < WAITING && !arrived.iter().any(|arrival| arrival.signal == trap) {
                arrived.push_back(Arrival { signal: trap, code });
            }
            drop(arrived);
            ARRIVAL.notify_waiters();
        }
    });
}
