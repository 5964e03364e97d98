//! Runs a command or a script to its end.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use brush_builtins::BuiltinSet;
use brush_core::builtins::{BoxFuture, CommandExecuteFunc, Registration};
use brush_core::extensions::DefaultShellExtensions;
use brush_core::openfiles::OpenFile;
use brush_core::{
    CommandArg, Error, ExecutionContext, ExecutionResult, ProfileLoadBehavior, RcLoadBehavior, Shell,
    SourceInfo,
};
use tokio::runtime::Builder;

use super::call::{Call, Work};
use super::{background, rewrite, signals, wait};

/// The crate's own.
static EVAL: OnceLock<CommandExecuteFunc<DefaultShellExtensions>> = OnceLock::new();

/// Misuse, as bash says it.
const MISUSED: u8 = 2;

/// A command has so long to end after a signal came that asks the shell to end; a subshell, which is a task
/// of this process, does not get it.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn run(mut call: Call) -> ExitCode {
    // The crate runs scripts from their files; one that is to be rewritten is read here.
    if let Work::Script(path) = &call.work
        && let Some(text) = std::fs::read_to_string(path).ok().filter(|text| rewrite::is_needed(text))
    {
        call.work = Work::Command(text);
    }
    let name = call.name.clone();
    in_runtime(&name, async move {
        let name = call.name.clone();
        match start(&call).await {
            Ok(mut shell) => {
                let (work, args) = (call.work, call.args);
                to_the_end(&mut shell, async |shell: &mut Shell| perform(shell, work, args).await).await
            }
            Err(error) => {
                eprintln!("{name}: {error}");
                MISUSED
            }
        }
    })
}

/// Runs a shell's work in the runtime that the crate wants.
pub(super) fn in_runtime(name: &str, work: impl Future<Output = u8>) -> ExitCode {
    let runtime = match Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{name}: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(work);
    // What runs in the background may go on; nobody waits for it.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn start(call: &Call) -> Result<Shell, Error> {
    let arguments = matches!(call.work, Work::Command(_)).then(|| call.args.clone());
    let mut shell = Shell::builder()
        .enable_options(call.on.clone())
        .disable_options(call.off.clone())
        .command_string_mode(matches!(call.work, Work::Command(_)))
        .interactive(call.interactive)
        .login(call.login)
        .shell_name(call.name.clone())
        .maybe_shell_args(arguments)
        .profile(ProfileLoadBehavior::Skip)
        .rc(RcLoadBehavior::Skip)
        .build()
        .await?;
    equip(&mut shell);
    load_settings(&mut shell, call).await?;
    Ok(shell)
}

/// Reads what a login or someone at a terminal set up.
pub(super) async fn load_settings(shell: &mut Shell, call: &Call) -> Result<(), Error> {
    let options = shell.options();
    if call.bare || !(options.interactive || options.login_shell) {
        return Ok(());
    }
    shell.load_config(&ProfileLoadBehavior::LoadDefault, &RcLoadBehavior::LoadDefault).await
}

/// Gives a shell its commands.
pub(super) fn equip(shell: &mut Shell) {
    for (name, builtin) in brush_builtins::default_builtins(BuiltinSet::BashMode) {
        shell.register_builtin(name, builtin);
    }
    // The built-in one ends processes with SIGKILL unless told otherwise, and knows one at a time.
    if let Some(kill) = shell.builtin_mut("kill") {
        kill.disabled = true;
    }
    let own: [(&str, CommandExecuteFunc<DefaultShellExtensions>); 2] =
        [(rewrite::START, background::start), (signals::DELIVER, signals::run_traps)];
    let like = shell.builtins().get(":").cloned().expect("the crate has it");
    for (name, execute_func) in own {
        shell.register_builtin(name, Registration { execute_func, ..like.clone() });
    }
    if let Some(eval) = shell.builtin_mut("eval") {
        let _ = EVAL.set(eval.execute_func);
        eval.execute_func = rewritten_eval;
    }
    signals::watch_traps(shell);
    wait::replace(shell);
    // The crate's own standard input reads ahead: what follows a line would be lost for the next command.
    if let Ok(input) = std::io::stdin().as_fd().try_clone_to_owned() {
        shell.open_files_mut().set_fd(0, OpenFile::File(input.into()));
    }
}

/// `eval` of a text that asks for `$!`.
fn rewritten_eval(
    context: ExecutionContext<'_>,
    args: Vec<CommandArg>,
) -> BoxFuture<'_, Result<ExecutionResult, Error>> {
    let words: Vec<String> = args.iter().skip(1).map(ToString::to_string).collect();
    let text = words.join(" ");
    if !rewrite::is_needed(&text) {
        return EVAL.get().expect("it was set before")(context, args);
    }
    Box::pin(
        async move { rewrite::run(context.shell, &text, &SourceInfo::from("eval"), &context.params).await },
    )
}

/// Does `work`, and what signals ask for.
pub(super) async fn to_the_end(
    shell: &mut Shell,
    work: impl AsyncFnOnce(&mut Shell) -> Result<ExecutionResult, Error>,
) -> u8 {
    let given_up = tokio::select! {
        biased;
        result = work(shell) => Err(result),
        code = nobody_takes_a_signal() => Ok(code),
    };
    match given_up {
        Err(Ok(_)) => {
            signals::deliver(shell).await;
            shell.last_exit_status()
        }
        Err(Err(error)) => {
            let mut stderr = shell.stderr();
            let _ = shell.display_error(&mut stderr, &error);
            1
        }
        // What was interrupted cannot be taken up again.
        Ok(code) => {
            signals::deliver(shell).await;
            let _ = shell.on_exit().await;
            code
        }
    }
}

async fn perform(shell: &mut Shell, work: Work, args: Vec<String>) -> Result<ExecutionResult, Error> {
    match work {
        Work::Command(text) => {
            let params = shell.default_exec_params();
            shell.start_command_string_mode();
            let result = rewrite::run(shell, &text, &SourceInfo::from("-c"), &params).await;
            shell.end_command_string_mode()?;
            signals::deliver(shell).await;
            let _ = shell.on_exit().await;
            result
        }
        Work::Script(path) => shell.run_script(Path::new(&path), args.into_iter()).await,
        Work::Session => Ok(ExecutionResult::success()),
    }
}

/// Ends when a signal came that asks the shell to end, and the command that runs does not end of itself. The
/// code is that of the signal.
async fn nobody_takes_a_signal() -> u8 {
    loop {
        let code = signals::arrived().await;
        let began = tokio::time::Instant::now();
        while signals::waiting().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if matches!(code, 130 | 131 | 143) && began.elapsed() > PATIENCE && signals::waiting().is_some() {
                return code;
            }
        }
    }
}
