//! `wait`: for processes in the background by number, for the next of them (`-n`), or for all; a signal with
//! a trap ends it.

use std::io::Write as _;
use std::sync::OnceLock;

use brush_core::builtins::{BoxFuture, CommandExecuteFunc};
use brush_core::extensions::DefaultShellExtensions;
use brush_core::{CommandArg, Error, ExecutionContext, ExecutionResult, Shell};
use tokio::task::JoinSet;

use super::background::{self, Child};
use super::signals;

/// There is no such child.
const UNKNOWN: u8 = 127;

/// The crate's own, which knows the tasks of texts without `$!`.
static TASKS: OnceLock<CommandExecuteFunc<DefaultShellExtensions>> = OnceLock::new();

pub(super) fn replace(shell: &mut Shell) {
    if let Some(wait) = shell.builtin_mut("wait") {
        let _ = TASKS.set(wait.execute_func);
        wait.execute_func = wait_or_signal;
    }
}

fn wait_or_signal(
    context: ExecutionContext<'_>,
    args: Vec<CommandArg>,
) -> BoxFuture<'_, Result<ExecutionResult, Error>> {
    Box::pin(async move {
        let ExecutionContext { shell, command_name, params } = context;
        // A subshell is a task of this process: signals are not for it.
        let ours = !shell.is_subshell();
        let waited = {
            let context = ExecutionContext { shell: &mut *shell, command_name, params };
            tokio::select! {
                biased;
                code = signals::arrived(), if ours => Err(code),
                result = wait(context, args) => Ok(result),
            }
        };
        match waited {
            Ok(result) => result,
            Err(code) => {
                signals::deliver(shell).await;
                Ok(ExecutionResult::new(code))
            }
        }
    })
}

async fn wait(context: ExecutionContext<'_>, args: Vec<CommandArg>) -> Result<ExecutionResult, Error> {
    let words: Vec<String> = args.iter().skip(1).map(ToString::to_string).collect();
    let next = words.first().is_some_and(|word| word == "-n");
    let names = if next { &words[1..] } else { &words[..] };
    let children = background::children();
    if names.iter().any(|name| name.starts_with('%') || name.starts_with('-')) {
        return tasks(context, args).await;
    }
    if names.is_empty() && !next {
        for child in children {
            ended(child).await;
        }
        return tasks(context, args).await;
    }
    if next {
        let wanted =
            |child: &Child| !child.told && (names.is_empty() || names.contains(&child.pid.to_string()));
        return Ok(ExecutionResult::new(first(children.into_iter().filter(wanted).collect()).await));
    }
    let mut code = 0;
    for name in names {
        code = match children.iter().find(|child| child.pid.to_string() == *name) {
            Some(child) => ended(child.clone()).await,
            None => {
                let _ = writeln!(context.stderr(), "sh: wait: pid {name} is not a child of this shell");
                UNKNOWN
            }
        };
    }
    Ok(ExecutionResult::new(code))
}

async fn tasks(context: ExecutionContext<'_>, args: Vec<CommandArg>) -> Result<ExecutionResult, Error> {
    let tasks = TASKS.get().expect("it was set before");
    tasks(context, args).await
}

/// How a child ended.
async fn ended(mut child: Child) -> u8 {
    let code = child.code.wait_for(Option::is_some).await.ok().and_then(|code| *code);
    background::told(child.pid);
    code.unwrap_or(UNKNOWN)
}

/// How the first of them ended that ends.
async fn first(children: Vec<Child>) -> u8 {
    if let Some(done) = children.iter().find(|child| child.code.borrow().is_some()) {
        return ended(done.clone()).await;
    }
    let mut waiting = JoinSet::new();
    for mut child in children {
        waiting.spawn(async move {
            let _ = child.code.wait_for(Option::is_some).await;
            child
        });
    }
    match waiting.join_next().await {
        Some(Ok(child)) => ended(child).await,
        _ => UNKNOWN,
    }
}
