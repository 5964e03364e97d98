//! Further processes in running containers.

use std::sync::{Arc, Mutex};

use engine_api::container::ExecConfig;
use engine_runtime::spec::{ExecSpec, Process};
use engine_runtime::{Chunk, RuntimeError, SessionStream, Streams};
use serde_json::{Value, json};

use super::container::{Container, Record};
use super::error::{Refusal, Result};
use super::{Daemon, caps, names, spec};
use crate::options::Config;

/// How many finished sessions of a container can be asked about.
const KEPT: usize = 128;

/// One exec session.
pub(crate) struct ExecSession {
    pub(crate) id: String,
    pub(crate) container: String,
    pub(crate) config: ExecConfig,
    /// Who runs it: the exec's own word or the container's.
    user: String,
    /// Said at the start, after the session was made.
    console_size: Mutex<Option<[u16; 2]>>,
    state: Mutex<ExecState>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct ExecState {
    pub(crate) started: bool,
    pub(crate) running: bool,
    pub(crate) exit_code: Option<i32>,
    pub(crate) pid: i32,
}

impl ExecSession {
    fn state(&self) -> std::sync::MutexGuard<'_, ExecState> {
        self.state.lock().expect("no code panics holding it")
    }

    pub(crate) fn json(&self) -> Value {
        let state = self.state().clone();
        let mut body = json!({
            "ID": self.id,
            "Running": state.running,
            "ExitCode": state.exit_code,
            "ProcessConfig": {
                "tty": self.config.tty,
                "entrypoint": self.config.cmd.first(),
                "arguments": self.config.cmd.get(1..).unwrap_or_default(),
                "privileged": self.config.privileged,
            },
            "OpenStdin": self.config.attach_stdin,
            "OpenStderr": self.config.attach_stderr,
            "OpenStdout": self.config.attach_stdout,
            "CanRemove": false,
            "ContainerID": self.container,
            "DetachKeys": "",
            "Pid": state.pid,
        });
        if !self.user.is_empty() {
            body["ProcessConfig"]["user"] = self.user.as_str().into();
        }
        body
    }

    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.state().exit_code
    }

    /// Rows and columns of the terminal.
    pub(crate) fn set_console_size(&self, size: [u16; 2]) {
        *self.console_size.lock().expect("no code panics holding it") = Some(size);
    }
}

impl Daemon {
    /// `shown` is what the user called the container.
    pub(crate) fn create_exec(
        &self,
        container: &Container,
        shown: &str,
        config: ExecConfig,
    ) -> Result<Arc<ExecSession>> {
        if config.cmd.is_empty() {
            return Err(Refusal::bad("No exec command specified"));
        }
        check_can_exec(&container.record(), shown)?;
        let user = match config.user.as_str() {
            "" => container.record().config.user.clone(),
            own => own.to_owned(),
        };
        let session = Arc::new(ExecSession {
            user,
            console_size: Mutex::new(config.console_size),
            id: names::new_id(),
            container: container.id.clone(),
            config,
            state: Mutex::default(),
        });
        let mut execs = container.execs.lock().expect("no code panics holding it");
        if execs.len() >= KEPT
            && let Some(old) = execs.iter().find(|(_, e)| e.exit_code().is_some()).map(|(id, _)| id.clone())
        {
            execs.remove(&old);
            self.execs.lock().expect("no code panics holding it").remove(&old);
        }
        execs.insert(session.id.clone(), session.clone());
        self.execs.lock().expect("no code panics holding it").insert(session.id.clone(), session.clone());
        drop(execs);
        let action = format!("exec_create: {}", action_text(&session));
        self.tell_container_with(container, &action, &[("execID", &session.id)]);
        Ok(session)
    }

    pub(crate) fn find_exec(&self, id: &str) -> Result<Arc<ExecSession>> {
        let found = self.execs.lock().expect("no code panics holding it").get(id).cloned();
        found.ok_or_else(|| Refusal::missing(format!("No such exec instance: {id}")))
    }

    /// Checks what can be said before the connection is taken over.
    pub(crate) fn check_exec_start(&self, session: &ExecSession) -> Result<Arc<Container>> {
        let container = self.containers.find(&session.container)?;
        check_can_exec(&container.record(), &session.container)?;
        let state = session.state();
        if state.exit_code.is_some() {
            return Err(Refusal::conflict(format!("exec command {} has already run", session.id)));
        }
        if state.started {
            return Err(Refusal::conflict(format!("exec command {} is already running", session.id)));
        }
        Ok(container)
    }

    /// Runs it. The streams wanted come back; the caller reads them to their end and calls [`Daemon::exec_ended`].
    pub(crate) async fn start_exec(
        &self,
        container: &Container,
        session: &ExecSession,
        streams: Streams,
    ) -> Result<SessionStream> {
        {
            let mut state = session.state();
            if std::mem::replace(&mut state.started, true) {
                return Err(Refusal::conflict(format!("exec command {} is already running", session.id)));
            }
            state.running = true;
        }
        let program = container.program();
        let program =
            program.ok_or_else(|| Refusal::conflict(format!("Container {} is not running", container.id)))?;
        let size = *session.console_size.lock().expect("no code panics holding it");
        let process = exec_process(&container.record(), &session.config, size, &self.config)?;
        let action = format!("exec_start: {}", action_text(session));
        self.tell_container_with(container, &action, &[("execID", &session.id)]);
        let exec = ExecSpec { id: session.id.clone(), process, stdin: streams.stdin };
        let started = match exec.process.cwd.starts_with('/') || exec.process.cwd.is_empty() {
            true => program.exec(exec, streams).await,
            false => Err(RuntimeError::Start { code: 126, message: RELATIVE.into() }),
        };
        match started {
            Ok((pid, stream)) => {
                session.state().pid = pid;
                stream.ok_or_else(|| Refusal::internal("the exec session has no stream"))
            }
            Err(error) => {
                let code = if matches!(&error, RuntimeError::Start { code: 127, .. }) { 127 } else { 126 };
                self.note_exec_end(container, session, code);
                Err(exec_failure(error))
            }
        }
    }

    /// Notes how a session ended.
    pub(crate) fn note_exec_end(&self, container: &Container, session: &ExecSession, code: i32) {
        {
            let mut state = session.state();
            if state.exit_code.is_some() {
                return;
            }
            state.running = false;
            state.exit_code = Some(code);
        }
        let code = code.to_string();
        self.tell_container_with(container, "exec_die", &[("execID", &session.id), ("exitCode", &code)]);
    }

    /// Runs a session to its end without a client, keeping at most `limit` bytes of its output.
    pub(crate) async fn run_exec(
        &self,
        container: &Container,
        session: &ExecSession,
        limit: usize,
    ) -> Result<(i32, Vec<u8>)> {
        let stream = self.start_exec(container, session, Streams::OUTPUT).await?;
        self.drain_exec(container, session, stream, limit).await
    }

    pub(crate) async fn drain_exec(
        &self,
        container: &Container,
        session: &ExecSession,
        mut stream: SessionStream,
        limit: usize,
    ) -> Result<(i32, Vec<u8>)> {
        let mut kept = Vec::new();
        loop {
            match stream.output.next().await {
                Ok(Chunk::Stdout(bytes) | Chunk::Stderr(bytes)) => {
                    let room = limit.saturating_sub(kept.len()).min(bytes.len());
                    kept.extend_from_slice(&bytes[..room]);
                }
                Ok(Chunk::Exit(exit)) => {
                    self.note_exec_end(container, session, exit.code);
                    return Ok((exit.code, kept));
                }
                Err(error) => {
                    self.note_exec_end(container, session, 137);
                    return Err(error.into());
                }
            }
        }
    }

    /// The container's program has ended, and every session with it. One that never began is forgotten.
    pub(crate) fn end_execs(&self, container: &Container) {
        let mut execs = container.execs.lock().expect("no code panics holding it");
        let sessions: Vec<_> = execs.values().cloned().collect();
        let mut all = self.execs.lock().expect("no code panics holding it");
        for unborn in sessions.iter().filter(|session| !session.state().started) {
            execs.remove(&unborn.id);
            all.remove(&unborn.id);
        }
        drop((execs, all));
        for session in sessions {
            let running = session.state().running;
            if running {
                self.note_exec_end(container, &session, 137);
            }
        }
    }

    pub(crate) fn forget_execs(&self, container: &Container) {
        let own = std::mem::take(&mut *container.execs.lock().expect("no code panics holding it"));
        let mut all = self.execs.lock().expect("no code panics holding it");
        for id in own.keys() {
            all.remove(id);
        }
    }
}

/// Docker writes a space after each word, the last one too.
fn action_text(session: &ExecSession) -> String {
    session.config.cmd.iter().map(|word| format!("{word} ")).collect()
}

fn check_can_exec(record: &Record, shown: &str) -> Result<()> {
    let state = &record.state;
    if !state.running {
        return Err(Refusal::conflict(format!("Container {} is not running", record.id)));
    }
    if state.paused {
        return Err(Refusal::conflict(format!(
            "Container {shown} is paused, unpause the container before exec"
        )));
    }
    if state.restarting {
        return Err(Refusal::conflict(format!(
            "Container {} is restarting, wait until the container is running",
            record.id
        )));
    }
    Ok(())
}

fn exec_process(
    record: &Record,
    config: &ExecConfig,
    console_size: Option<[u16; 2]>,
    daemon: &Config,
) -> Result<Process> {
    let mut env = spec::environment(record);
    if config.tty && !env.iter().any(|e| e.starts_with("TERM=")) {
        env.push("TERM=xterm".into());
    }
    spec::override_env(&mut env, config.env.as_deref().unwrap_or_default());
    let mut host = record.host.clone();
    host.privileged |= config.privileged;
    let capabilities = caps::of(&host)?;
    let pick =
        |own: &String, container: &String| if own.is_empty() { container.clone() } else { own.clone() };
    Ok(Process {
        args: config.cmd.clone(),
        env,
        cwd: pick(&config.working_dir, &record.config.working_dir),
        user: pick(&config.user, &record.config.user),
        groups: record.host.group_add.clone().unwrap_or_default(),
        tty: config.tty,
        console_size: console_size.map(|[rows, columns]| (rows, columns)).filter(|s| s.0 > 0 && s.1 > 0),
        seccomp: spec::seccomp(&host, &capabilities, daemon),
        no_new_privileges: spec::no_new_privileges(&record.host, daemon),
        capabilities,
        ..Process::default()
    })
}

/// What the runtime says of such a folder, before it has started anything.
const RELATIVE: &str = "Cwd must be an absolute path";

fn exec_failure(error: RuntimeError) -> Refusal {
    match error {
        RuntimeError::Start { message, .. } if super::start::names_no_user(&message) => Refusal::bad(message),
        RuntimeError::Start { message, .. } if message == RELATIVE => {
            Refusal::bad(format!("OCI runtime exec failed: exec failed: {message}: unknown"))
        }
        RuntimeError::Start { message, .. } => Refusal::bad(format!(
            "OCI runtime exec failed: exec failed: unable to start container process: {message}: unknown"
        )),
        other => other.into(),
    }
}
