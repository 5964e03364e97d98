//! Connections that become a container's streams: attach and exec.
//!
//! Without a terminal, output is framed: stream number, three zeros, length, bytes. Input is raw. A refused
//! attach is answered with a line of text.

use std::sync::Arc;

use engine_api::container::{ExecConfig, ExecStart};
use engine_http::{BoxRead, HeadRead};
use engine_runtime::{Chunk, Exit, SessionStream, Streams};
use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::call::{Call, Done, Fail, Query};
use super::detach::DetachKeys;
use crate::daemon::Daemon;
use crate::daemon::attach::Attached;
use crate::daemon::container::Container;

const RAW: &str = "application/vnd.docker.raw-stream";
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// How the two ends of a connection are joined.
pub(super) struct Joint {
    /// Output goes as it comes, without frames.
    pub(super) tty: bool,
    stdin: bool,
    keys: Option<DetachKeys>,
}

/// A connection that is ours.
pub(super) struct Raw {
    pub(super) reader: BoxRead,
    pub(super) writer: engine_http::BoxWrite,
    pub(super) head: HeadRead,
}

async fn hijack(call: &mut Call<'_>, upgraded: &str) -> std::io::Result<Raw> {
    let (reader, writer, head) = call.ex.hijack(RAW, upgraded).await?.into_parts();
    Ok(Raw { reader, writer, head })
}

/// Why the pumping ended.
enum End {
    Exited(Exit),
    Detached,
    /// The client is gone.
    Left,
}

pub(super) async fn attach(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    match attach_plain(d, call, id).await {
        // Docker has its connection in hand by then, and says what is wrong as text.
        Err(Fail::Refused(status, message)) if !call.ex.answered() => {
            Ok(call.ex.reply(status, RAW, format!("{message}\r\n").as_bytes()).await?)
        }
        done => done,
    }
}

async fn attach_plain(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    // What belongs to the request is not input of the program.
    call.ex.body(1 << 20).await?;
    let query = &call.query;
    let asked =
        Streams { stdin: query.flag("stdin"), stdout: query.flag("stdout"), stderr: query.flag("stderr") };
    let attaching = Attaching::prepare(d, &call.query, id, asked).await?;
    let upgraded = if !attaching.joint.tty && call.at_least(42) { MULTIPLEXED } else { RAW };
    let raw = hijack(call, upgraded).await?;
    attaching.carry(d, raw).await
}

/// A client about to be attached: everything was found to be in order.
pub(super) struct Attaching {
    container: Arc<Container>,
    streams: Streams,
    pub(super) joint: Joint,
    live: bool,
    logs: bool,
    attached: Option<Attached>,
}

impl Attaching {
    pub(super) async fn prepare(
        d: &Arc<Daemon>,
        query: &Query,
        id: &str,
        asked: Streams,
    ) -> Result<Attaching, Fail> {
        let keys = DetachKeys::parse(query.text("detachKeys")).map_err(Fail::bad)?;
        let container = d.containers.find(id)?;
        let (tty, paused, restarting, open_stdin) = {
            let record = container.record();
            (record.config.tty, record.state.paused, record.state.restarting, record.config.open_stdin)
        };
        if paused {
            return Err(Fail::conflict(format!(
                "container {id} is paused, unpause the container before attach"
            )));
        }
        if restarting {
            return Err(Fail::conflict(format!(
                "container {id} is restarting, wait until the container is running"
            )));
        }
        let streams = Streams { stdin: asked.stdin && open_stdin, ..asked };
        let (live, logs) = (query.flag("stream"), query.flag("logs"));
        let joint = Joint { tty, stdin: streams.stdin, keys: tty.then_some(keys) };
        let attached = if live { Some(container.attach(streams).await?) } else { None };
        Ok(Attaching { container, streams, joint, live, logs, attached })
    }

    /// Joins the connection and the program until one of them ends.
    pub(super) async fn carry(self, d: &Arc<Daemon>, mut raw: Raw) -> Done {
        let Attaching { container, streams, joint, live, logs, attached } = self;
        if logs {
            raw.head.wait().await;
            if !live {
                container.first_output().await;
            }
            super::logs::replay(&container, &mut raw.writer, streams, joint.tty).await?;
        }
        d.tell_container(&container, "attach");
        let Some(attached) = attached else { return Ok(raw.writer.shutdown().await?) };
        let session = match attached {
            Attached::Now(session) => session,
            Attached::Later(coming) => match until_left(coming, &mut raw).await {
                Some((session, early)) => return pump_with(d, &container, session, raw, joint, early).await,
                None => return Ok(raw.writer.shutdown().await?),
            },
        };
        pump_with(d, &container, session, raw, joint, Vec::new()).await
    }
}

/// Waits for the program, keeping what the client types meanwhile (up to a bound).
async fn until_left(
    mut coming: tokio::sync::oneshot::Receiver<SessionStream>,
    raw: &mut Raw,
) -> Option<(SessionStream, Vec<u8>)> {
    const EARLY: usize = 64 * 1024;
    let mut early = Vec::new();
    let mut open = true;
    let mut buffer = vec![0; 4096];
    loop {
        tokio::select! {
            session = &mut coming => return session.ok().map(|s| (s, early)),
            read = raw.reader.read(&mut buffer), if open && early.len() < EARLY => match read {
                // The end of input is not the end of the client; it shows when the program is there.
                Ok(0) | Err(_) => open = false,
                Ok(n) => early.extend_from_slice(&buffer[..n]),
            },
        }
    }
}

async fn pump_with(
    d: &Arc<Daemon>,
    container: &Arc<Container>,
    mut session: SessionStream,
    raw: Raw,
    joint: Joint,
    early: Vec<u8>,
) -> Done {
    if !early.is_empty() && joint.stdin {
        session.input.write(&early).await?;
    }
    if let End::Detached = pump(session, raw, joint).await {
        d.tell_container(container, "detach");
    }
    Ok(())
}

/// Carries bytes both ways until the program ends, the client detaches, or it is gone.
async fn pump(session: SessionStream, raw: Raw, joint: Joint) -> End {
    let SessionStream { mut output, mut input } = session;
    let Raw { mut reader, mut writer, mut head } = raw;
    let tty = joint.tty;
    let outward = async {
        loop {
            let chunk = match output.next().await {
                Ok(chunk) => chunk,
                Err(_) => return End::Left,
            };
            head.wait().await;
            let sent = match chunk {
                Chunk::Stdout(bytes) => send(&mut writer, 1, &bytes, tty).await,
                Chunk::Stderr(bytes) => send(&mut writer, 2, &bytes, tty).await,
                Chunk::Exit(exit) => return End::Exited(exit),
            };
            if sent.is_err() {
                return End::Left;
            }
        }
    };
    let inward = async {
        let mut keys = joint.keys;
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let n = match reader.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n) => n,
            };
            if !joint.stdin {
                continue;
            }
            let (bytes, detach) = match &mut keys {
                Some(keys) => keys.filter(&buffer[..n]),
                None => (buffer[..n].to_vec(), false),
            };
            if !bytes.is_empty() && input.write(&bytes).await.is_err() {
                break;
            }
            if detach {
                return End::Detached;
            }
        }
        if joint.stdin {
            // A program that has ended needs no end of input.
            let _ = input.finish().await;
        }
        // The client may only have closed its half: output goes on.
        std::future::pending::<End>().await
    };
    let end = tokio::select! {
        end = outward => end,
        end = inward => end,
    };
    // The client may have closed first.
    let _ = writer.shutdown().await;
    end
}

pub(super) async fn send(
    writer: &mut engine_http::BoxWrite,
    stream: u8,
    bytes: &[u8],
    tty: bool,
) -> std::io::Result<()> {
    if !tty {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        let head = [stream, 0, 0, 0, length[0], length[1], length[2], length[3]];
        let mut framed = Vec::with_capacity(8 + bytes.len());
        framed.extend_from_slice(&head);
        framed.extend_from_slice(bytes);
        writer.write_all(&framed).await?;
    } else {
        writer.write_all(bytes).await?;
    }
    writer.flush().await
}

pub(super) async fn exec_create(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let config: ExecConfig = call.json().await?;
    if config.cmd.is_empty() {
        return Err(Fail::bad("No exec command specified"));
    }
    let container = d.containers.find(id)?;
    let session = d.create_exec(&container, id, config)?;
    call.reply_json(StatusCode::CREATED, &json!({ "Id": session.id })).await
}

pub(super) async fn exec_start(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let start: ExecStart = call.json().await?;
    let console_size = start.console_size.filter(|_| call.at_least(42));
    if console_size.is_some() && !start.tty {
        return Err(Fail::bad("console size is only supported when TTY is enabled"));
    }
    let session = d.find_exec(id)?;
    let container = d.check_exec_start(&session)?;
    if let Some(size) = console_size {
        session.set_console_size(size);
    }
    if start.detach {
        let stream = d.start_exec(&container, &session, Streams::OUTPUT).await?;
        let (d, c, s) = (d.clone(), container.clone(), session.clone());
        // Reads the session to its end, which comes with the container's at the latest.
        tokio::spawn(async move { d.drain_exec(&c, &s, stream, 0).await });
        return call.empty(StatusCode::OK).await;
    }
    let config = &session.config;
    let streams =
        Streams { stdin: config.attach_stdin, stdout: config.attach_stdout, stderr: config.attach_stderr };
    let wanted = if streams.any() { streams } else { Streams::OUTPUT };
    let keys = DetachKeys::parse(&config.detach_keys).map_err(Fail::bad)?;
    // Frames are as the start says, which need not be what the session is; Docker's Python SDK counts on it.
    let joint = Joint { tty: start.tty, stdin: streams.stdin, keys: config.tty.then_some(keys) };
    let upgraded = if !start.tty && call.at_least(42) { MULTIPLEXED } else { RAW };
    let mut raw = hijack(call, upgraded).await?;
    let stream = match d.start_exec(&container, &session, wanted).await {
        Ok(stream) => stream,
        Err(refusal) => {
            // Docker says it in the stream, as the program's output.
            let text = format!("{}\r\n", refusal.message);
            raw.head.wait().await;
            send(&mut raw.writer, 1, text.as_bytes(), start.tty).await?;
            return Ok(raw.writer.shutdown().await?);
        }
    };
    run_exec(d, &container, &session, stream, raw, joint).await
}

async fn run_exec(
    d: &Arc<Daemon>,
    container: &Arc<Container>,
    session: &Arc<crate::daemon::exec::ExecSession>,
    stream: SessionStream,
    raw: Raw,
    joint: Joint,
) -> Done {
    // The exit code must be known when the client sees the end of the stream: it is noted first.
    let noting = Noting { d: d.clone(), container: container.clone(), session: session.clone() };
    if !matches!(pump_noting(stream, raw, joint, &noting).await, End::Exited(_)) {
        noting.follow_up();
    }
    Ok(())
}

/// Notes the end of an exec session.
struct Noting {
    d: Arc<Daemon>,
    container: Arc<Container>,
    session: Arc<crate::daemon::exec::ExecSession>,
}

impl Noting {
    fn exited(&self, exit: &Exit) {
        self.d.note_exec_end(&self.container, &self.session, exit.code);
    }

    /// The client left before the end: somebody must still notice it.
    fn follow_up(self) {
        tokio::spawn(async move {
            let Some(program) = self.container.program() else { return };
            loop {
                match program.exec_state(&self.session.id).await {
                    Ok(Some(exit)) => return self.exited(&exit),
                    Ok(None) => tokio::time::sleep(std::time::Duration::from_millis(250)).await,
                    Err(_) => return self.d.note_exec_end(&self.container, &self.session, 137),
                }
            }
        });
    }
}

async fn pump_noting(session: SessionStream, raw: Raw, joint: Joint, noting: &Noting) -> End {
    let SessionStream { output, input } = session;
    let (mut bridge_in, bridge_out) = tokio::io::duplex(64 * 1024);
    let Raw { reader, mut writer, head } = raw;
    let inner = Raw { reader, writer: Box::new(bridge_out), head };
    // The last bytes and the close wait for the note.
    let copy = async {
        let copied = tokio::io::copy(&mut bridge_in, &mut writer).await;
        copied.map(drop)
    };
    let pumping = async {
        let end = pump(SessionStream { output, input }, inner, joint).await;
        if let End::Exited(exit) = &end {
            noting.exited(exit);
        }
        end
    };
    let (end, _) = tokio::join!(pumping, copy);
    // The client may have closed first.
    let _ = writer.shutdown().await;
    end
}

pub(super) async fn exec_inspect(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let session = d.find_exec(id)?;
    call.ok_json(&session.json()).await
}

fn size(call: &Call<'_>) -> Result<(u16, u16), Fail> {
    let read = |key: &str| -> Result<u16, Fail> {
        let text = call.query.text(key);
        text.parse().map_err(|_| Fail::bad(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))
    };
    Ok((read("h")?, read("w")?))
}

pub(super) async fn resize(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let (rows, columns) = size(call)?;
    let container = d.containers.find(id)?;
    let program = container
        .program()
        .ok_or_else(|| Fail::conflict(format!("Container {} is not running", container.id)))?;
    program.resize(None, rows, columns).await.map_err(|e| Fail::internal(e.to_string()))?;
    let (h, w) = (rows.to_string(), columns.to_string());
    d.tell_container_with(&container, "resize", &[("height", &h), ("width", &w)]);
    call.empty(StatusCode::OK).await
}

pub(super) async fn exec_resize(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let (rows, columns) = size(call)?;
    let session = d.find_exec(id)?;
    let container = d.containers.find(&session.container)?;
    let program = container
        .program()
        .ok_or_else(|| Fail::conflict(format!("Container {} is not running", container.id)))?;
    program.resize(Some(id), rows, columns).await.map_err(|e| Fail::internal(e.to_string()))?;
    call.empty(StatusCode::OK).await
}
