//! Commands in the background that are processes: started from a copy of this shell's state, counted for
//! `wait`.
#![allow(unsafe_code, reason = "a descriptor is handed from one shell to the other")]

use std::io::{Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};

use brush_core::builtins::BoxFuture;
use brush_core::traps::TrapSignal;
use brush_core::{CommandArg, Error, ExecutionContext, ExecutionResult, Shell, ShellVariable, commands};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{rewrite, script, signals};

/// How a shell is told where its state is.
const RESUME: &str = "--state-in-descriptor=";
/// Above what scripts use.
const DESCRIPTORS_FROM: i32 = 200;

/// A process that was started in the background.
#[derive(Clone)]
pub(super) struct Child {
    pub(super) pid: u32,
    /// How it ended, once it has.
    pub(super) code: watch::Receiver<Option<u8>>,
    /// Its end was told: it is not the next one any more.
    pub(super) told: bool,
}

/// All that were started, oldest first.
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// All, those that ended too.
pub(super) fn children() -> Vec<Child> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Its end was told.
pub(super) fn told(pid: u32) {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.iter_mut().filter(|child| child.pid == pid).for_each(|child| child.told = true);
}

/// The command [`rewrite::START`].
pub(super) fn start(
    context: ExecutionContext<'_>,
    args: Vec<CommandArg>,
) -> BoxFuture<'_, Result<ExecutionResult, Error>> {
    Box::pin(async move {
        let number = args.get(1).map(ToString::to_string).unwrap_or_default();
        let started = match rewrite::part(&number) {
            Some(part) => spawn(&context, part),
            None => Err("nothing stands there".to_owned()),
        };
        match started {
            Ok(pid) => {
                let value = ShellVariable::new(pid.to_string());
                context.shell.set_env_global(rewrite::PROCESS, value)?;
                Ok(ExecutionResult::success())
            }
            Err(reason) => {
                let _ = writeln!(context.stderr(), "sh: cannot start in the background: {reason}");
                Ok(ExecutionResult::new(1))
            }
        }
    })
}

fn spawn(context: &ExecutionContext<'_>, mut part: Value) -> Result<u32, String> {
    as_process(&mut part, context.shell);
    rewrite::keep_process_id(&mut part);
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let state =
        json!({ "shell": state(context.shell)?, "program": { "complete_commands": [[[part, "Sequence"]]] } });
    let mut file =
        std::fs::File::from(memfd_create(c"shell", MFdFlags::MFD_CLOEXEC).map_err(|error| text(&error))?);
    file.write_all(state.to_string().as_bytes())
        .and_then(|()| file.rewind())
        .map_err(|error| text(&error))?;
    let inherited = fcntl(&file, FcntlArg::F_DUPFD(DESCRIPTORS_FROM)).map_err(|error| text(&error))?;
    // SAFETY: this descriptor was made on the line above, and belongs to nobody else.
    let inherited = unsafe { OwnedFd::from_raw_fd(inherited) };
    let argument = format!("{RESUME}{}", inherited.as_raw_fd());
    let mut command = commands::compose_std_command(context, "/proc/self/exe", "bash", &[argument], false)
        .map_err(|error| text(&error))?;
    command.stdin(Stdio::null());
    let mut child = tokio::process::Command::from(command).spawn().map_err(|error| text(&error))?;
    let pid = child.id().ok_or("it ended at once")?;
    let (ended, code) = watch::channel(None);
    tokio::spawn(async move {
        let code = match child.wait().await {
            Ok(status) => status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1),
            Err(_) => 127,
        };
        ended.send_replace(Some(u8::try_from(code).unwrap_or(1)));
    });
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).push(Child { pid, code, told: false });
    Ok(pid)
}

/// This shell's state as a shell of its own takes it up: its standard descriptors are the process', and
/// traps are not inherited.
fn state(shell: &Shell) -> Result<Value, String> {
    let mut copy = shell.clone();
    let traps: Vec<TrapSignal> = copy
        .traps()
        .iter_handlers()
        .filter(|(_, handler)| !handler.command.is_empty())
        .map(|(signal, _)| signal)
        .collect();
    for signal in traps {
        copy.traps_mut().remove_handlers(signal);
    }
    let mut state = serde_json::to_value(&copy).map_err(|error| error.to_string())?;
    state["depth"] = 0.into();
    rewrite::keep_process_id(&mut state["funcs"]);
    state["open_files"] = json!({ "files": { "0": "stdin", "1": "stdout", "2": "stderr" } });
    Ok(state)
}

/// A subshell or a program alone takes the place of its shell, so that `kill $!` reaches it.
fn as_process(part: &mut Value, shell: &Shell) {
    // What is usual is not written down.
    let alone = part.get("additional").is_none()
        && part.pointer("/first/bang").is_none()
        && part.pointer("/first/timed").is_none()
        && part.pointer("/first/seq").and_then(Value::as_array).is_some_and(|seq| seq.len() == 1);
    if !alone {
        return;
    }
    if let Some(compound) = part.pointer_mut("/first/seq/0/Compound/0")
        && let Some(list) = compound.get_mut("Subshell").map(Value::take)
    {
        *compound = json!({ "BraceGroup": list });
        return;
    }
    let Some(command) = part.pointer_mut("/first/seq/0/Simple") else { return };
    let Some(name) = command.pointer("/word_or_name/value").and_then(Value::as_str) else { return };
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+".contains(c));
    let known = shell.funcs().get(name).is_some()
        || shell.builtins().get(name).is_some_and(|builtin| !builtin.disabled)
        || shell.aliases().contains_key(name);
    if !plain || known || !command["prefix"].is_null() {
        return;
    }
    let word = command["word_or_name"].clone();
    command["word_or_name"]["value"] = "exec".into();
    if command["suffix"].is_null() {
        command["suffix"] = json!([]);
    }
    if let Some(suffix) = command["suffix"].as_array_mut() {
        suffix.insert(0, json!({ "Word": word }));
    }
}

/// The other side of [`spawn`], if `words` say so: takes the state up and runs what it is told.
pub(super) fn resume(words: &[String]) -> Option<ExitCode> {
    let descriptor: i32 = words.get(1)?.strip_prefix(RESUME)?.parse().ok()?;
    if descriptor < DESCRIPTORS_FROM {
        return None;
    }
    // Before there are descriptors of our own.
    let is_folder =
        |number: &i32| std::fs::metadata(format!("/proc/self/fd/{number}")).is_ok_and(|file| file.is_dir());
    let inherited: Vec<_> = brush_core::sys::fd::try_iter_open_fds()
        .filter(|(number, _)| (3..10).contains(number) && !is_folder(number))
        .collect();
    // SAFETY: whoever started this process put the state there for us; nothing else knows of it.
    let file = unsafe { std::fs::File::from_raw_fd(descriptor) };
    let mut state: Value = serde_json::from_reader(file).ok()?;
    let shell: Shell = serde_json::from_value(state["shell"].take()).ok()?;
    let program = serde_json::from_value(state["program"].take()).ok()?;
    Some(script::in_runtime("bash", async move {
        let mut shell = shell;
        script::equip(&mut shell);
        let mut params = shell.default_exec_params();
        for (number, file) in inherited {
            params.set_fd(number, file);
        }
        let work = async |shell: &mut Shell| {
            let result = shell.run_program(program, &params).await;
            signals::deliver(shell).await;
            let _ = shell.on_exit().await;
            result
        };
        script::to_the_end(&mut shell, work).await
    }))
}
