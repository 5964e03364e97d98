//! Commands as they come on standard input: typed at a terminal, with an [`Editor`], or from a pipe.

use std::io::{IsTerminal as _, Write as _, stderr, stdin};
use std::path::Path;
use std::process::ExitCode;

use brush_core::escape::{QuoteMode, quote_if_needed};
use brush_core::parser::ParseError;
use brush_core::terminal::TerminalControl;
use brush_core::{Error, ExecutionControlFlow, ExecutionResult, Shell, ShellVariable, SourceInfo};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::block_in_place;

use super::call::Call;
use super::editor::{Editor, Said, Ways, read_byte};
use super::{rewrite, script};

/// `core@host ~ $`.
const PROMPT: &str = r"\u@\h \w \$ ";
const INTERRUPTED: u8 = 130;

pub(super) fn run(call: Call) -> ExitCode {
    let name = call.name.clone();
    script::in_runtime(&name, async move {
        match start(&call).await {
            Ok(mut shell) => match serve(&mut shell).await {
                Ok(()) => shell.last_exit_status(),
                Err(error) => {
                    eprintln!("{}: {error}", call.name);
                    1
                }
            },
            Err(error) => {
                eprintln!("{}: {error}", call.name);
                1
            }
        }
    })
}

async fn start(call: &Call) -> Result<Shell, Error> {
    let interactive = call.interactive || (stdin().is_terminal() && stderr().is_terminal());
    let mut shell = Shell::builder()
        .enable_options(call.on.clone())
        .disable_options(call.off.clone())
        .interactive(interactive)
        .login(call.login)
        .read_commands_from_stdin(true)
        .shell_name(call.name.clone())
        .shell_args(call.args.clone())
        .profile(brush_core::ProfileLoadBehavior::Skip)
        .rc(brush_core::RcLoadBehavior::Skip)
        .build()
        .await?;
    script::equip(&mut shell);
    // The crate has a prompt of its own, which names the shell instead of the machine.
    if interactive && std::env::var_os("PS1").is_none() {
        shell.set_env_global("PS1", ShellVariable::new(PROMPT))?;
    }
    script::load_settings(&mut shell, call).await?;
    Ok(shell)
}

async fn serve(shell: &mut Shell) -> Result<(), Error> {
    let interactive = shell.options().interactive;
    let control = stdin().is_terminal().then(TerminalControl::acquire);
    if let Some(Err(error)) = &control {
        eprintln!("no job control in this shell: {error}");
    }
    shell.start_interactive_session()?;
    let mut editor = Editor::default();
    loop {
        let said = if interactive { ask(shell, &mut editor).await? } else { read_command(shell) };
        let text = match said {
            Said::Line(text) => text,
            Said::Interrupted => {
                shell.set_last_exit_status(INTERRUPTED);
                continue;
            }
            Said::End => {
                if interactive {
                    let _ = writeln!(shell.stderr(), "exit");
                }
                break;
            }
        };
        if interactive {
            shell.add_to_history(text.trim_end())?;
        }
        let lines = text.lines().count().max(1);
        let result = execute(shell, &text, interactive).await;
        shell.increment_interactive_line_offset(lines);
        match result {
            Ok(result) if matches!(result.next_control_flow, ExecutionControlFlow::ExitShell) => break,
            Ok(_) => {}
            Err(error) => {
                let mut stderr = shell.stderr();
                let _ = shell.display_error(&mut stderr, &error);
            }
        }
    }
    shell.end_interactive_session()?;
    shell.on_exit().await?;
    drop(control);
    Ok(())
}

/// Runs a command; Control-C ends what the shell does itself. A program in the foreground gets it directly.
async fn execute(shell: &mut Shell, text: &str, interactive: bool) -> Result<ExecutionResult, Error> {
    let params = shell.default_exec_params();
    let source = SourceInfo::from("main");
    let Some(mut interrupt) = interactive.then(|| signal(SignalKind::interrupt()).ok()).flatten() else {
        return rewrite::run(shell, text, &source, &params).await;
    };
    let interrupted = tokio::select! {
        result = rewrite::run(shell, text, &source, &params) => return result,
        _ = interrupt.recv() => ExecutionResult::new(INTERRUPTED),
    };
    eprintln!();
    shell.set_last_exit_status(INTERRUPTED);
    Ok(interrupted)
}

/// One whole command from the terminal.
async fn ask(shell: &mut Shell, editor: &mut Editor) -> Result<Said, Error> {
    shell.check_for_completed_jobs()?;
    if let Some(command) = shell.env_str("PROMPT_COMMAND").map(|command| command.into_owned()) {
        let status = shell.last_exit_status();
        let params = shell.default_exec_params();
        shell.run_string(command, &SourceInfo::from("PROMPT_COMMAND"), &params).await?;
        shell.set_last_exit_status(status);
    }
    let mut prompt = shell.compose_prompt().await?;
    let mut text = String::new();
    loop {
        let said = block_in_place(|| editor.read(&prompt, |before| ways(shell, before)))?;
        match said {
            Said::Line(line) => text.push_str(&format!("{line}\n")),
            Said::End if !text.is_empty() => return Ok(Said::Line(text)),
            other => return Ok(other),
        }
        if is_whole(shell, &text) {
            return Ok(Said::Line(text));
        }
        prompt = shell.compose_continuation_prompt().await?;
    }
}

/// One whole command from a pipe or a file, and not a byte more: the rest may be for the command.
fn read_command(shell: &Shell) -> Said {
    let mut text = Vec::new();
    while let Ok(Some(byte)) = read_byte() {
        text.push(byte);
        if byte == b'\n' && is_whole(shell, &String::from_utf8_lossy(&text)) {
            break;
        }
    }
    if text.is_empty() { Said::End } else { Said::Line(String::from_utf8_lossy(&text).into_owned()) }
}

/// Whether nothing that was begun is still open.
fn is_whole(shell: &Shell, text: &str) -> bool {
    let line = text.strip_suffix('\n').unwrap_or(text);
    if line.len() < text.len() && (line.len() - line.trim_end_matches('\\').len()) % 2 == 1 {
        return false;
    }
    match shell.parse_string(text) {
        Err(ParseError::ParsingAtEndOfInput) => false,
        Err(ParseError::Tokenizing { inner, .. }) => !inner.is_incomplete(),
        _ => true,
    }
}

/// How what is typed may go on.
fn ways(shell: &mut Shell, before: &str) -> Ways {
    let found = Handle::current().block_on(shell.complete(before, before.len()));
    let Ok(found) = found else { return Ways::new() };
    let Some(kept) = before.get(..found.insertion_index) else { return Ways::new() };
    let mut ways = Ways::new();
    for mut candidate in found.candidates {
        let mut end = " ";
        if found.options.treat_as_filenames {
            if shell.working_dir().join(Path::new(&candidate)).is_dir() && !candidate.ends_with('/') {
                candidate.push('/');
            }
            if candidate.ends_with('/') {
                end = "";
            }
            if !found.options.no_autoquote_filenames {
                candidate = quote_if_needed(&candidate, QuoteMode::BackslashEscape).into_owned();
            }
        }
        if found.options.no_trailing_space_at_end_of_line {
            end = "";
        }
        let way = format!("{kept}{candidate}{end}");
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways
}
