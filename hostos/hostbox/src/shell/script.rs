//! Runs a command or a script to its end, or to the end of a trap.

use std::path::Path;
use std::process::ExitCode;

use brush_builtins::{BuiltinSet, ShellBuilderExt as _};
use brush_core::{Error, ExecutionControlFlow, Shell};
use tokio::runtime::Builder;

use super::call::{Call, Work};
use super::signals::{self, Arrival};

/// Misuse, as bash says it.
const MISUSED: u8 = 2;

pub(super) fn run(call: Call) -> ExitCode {
    let runtime = match Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{}: cannot start: {error}", call.name);
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(work(call));
    // What runs in the background may go on; nobody waits for it.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn work(call: Call) -> u8 {
    let name = call.name.clone();
    match start(&call).await {
        Ok(mut shell) => to_the_end(&mut shell, call.work, call.args).await,
        Err(error) => {
            eprintln!("{name}: {error}");
            MISUSED
        }
    }
}

async fn start(call: &Call) -> Result<Shell, Error> {
    let arguments = matches!(call.work, Work::Command(_)).then(|| call.args.clone());
    let mut shell = Shell::builder()
        .default_builtins(BuiltinSet::BashMode)
        .enable_options(call.on.clone())
        .disable_options(call.off.clone())
        .command_string_mode(matches!(call.work, Work::Command(_)))
        .shell_name(call.name.clone())
        .maybe_shell_args(arguments)
        .profile(brush_core::ProfileLoadBehavior::Skip)
        .rc(brush_core::RcLoadBehavior::Skip)
        .build()
        .await?;
    // The built-in one ends processes with SIGKILL unless told otherwise, and knows one at a time.
    if let Some(kill) = shell.builtin_mut("kill") {
        kill.disabled = true;
    }
    signals::watch_traps(&mut shell);
    Ok(shell)
}

async fn to_the_end(shell: &mut Shell, work: Work, args: Vec<String>) -> u8 {
    let mut arrivals = signals::arrivals();
    let arrived = tokio::select! {
        biased;
        Some(arrival) = arrivals.recv() => Ok(arrival),
        result = perform(shell, work, args) => Err(result),
    };
    match arrived {
        Err(Ok(())) => shell.last_exit_status(),
        Err(Err(error)) => {
            let mut stderr = shell.stderr();
            let _ = shell.display_error(&mut stderr, &error);
            1
        }
        Ok(arrival) => trap(shell, &arrival).await,
    }
}

async fn perform(shell: &mut Shell, work: Work, args: Vec<String>) -> Result<(), Error> {
    match work {
        Work::Command(text) => shell.run_dash_c_command(text).await.map(drop),
        Work::Script(path) => shell.run_script(Path::new(&path), args.into_iter()).await.map(drop),
        Work::Session => Ok(()),
    }
}

/// What a trap says is done at once, and is the last thing: what it interrupted cannot be taken up again.
async fn trap(shell: &mut Shell, arrival: &Arrival) -> u8 {
    let Some(handler) = shell.traps().get_handler(arrival.signal).cloned() else { return arrival.code };
    let params = shell.default_exec_params();
    let result = shell.run_string(handler.command, &handler.source_info, &params).await;
    let code = match result {
        Ok(result) if matches!(result.next_control_flow, ExecutionControlFlow::ExitShell) => {
            result.exit_code.into()
        }
        _ => arrival.code,
    };
    let _ = shell.on_exit().await;
    code
}
