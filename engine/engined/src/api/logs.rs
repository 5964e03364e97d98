//! `docker logs`: what a container wrote, from its log files, and what it goes on to write.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine_runtime::Streams;
use http::StatusCode;
use tokio::sync::mpsc;

use super::call::{Call, Done, Fail};
use crate::clock::{self, Nanos};
use crate::daemon::Daemon;
use crate::daemon::container::Container;
use crate::daemon::logfile::{Entry, Follower, files, find_tail, parse_line};

/// Frames are sent in pieces of about this size.
const PIECE: usize = 256 * 1024;
/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// What a client wants to see.
#[derive(Debug, Clone, Default)]
struct Wanted {
    stdout: bool,
    stderr: bool,
    timestamps: bool,
    details: bool,
    tty: bool,
    since: Option<Nanos>,
    until: Option<Nanos>,
    tail: Option<usize>,
}

pub(super) async fn logs(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let query = &call.query;
    if !query.flag("stdout") && !query.flag("stderr") {
        return Err(Fail::bad("Bad parameters: you must choose at least one stream"));
    }
    let container = d.containers.find(id)?;
    let time = |key: &str| match query.text(key) {
        "" | "0" => Ok(None),
        text => clock::parse_unix(text).map(Some).ok_or_else(|| super::call::no_number(text)),
    };
    let (tty, driver) = {
        let record = container.record();
        (record.config.tty, record.host.log_config.kind.clone())
    };
    let wanted = Wanted {
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        tty,
        since: time("since")?,
        until: time("until")?,
        tail: query.text("tail").parse().ok(),
    };
    if driver == "none" {
        return Err(Fail::Refused(
            StatusCode::NOT_IMPLEMENTED,
            "configured logging driver does not support reading".into(),
        ));
    }
    let follow = query.flag("follow");
    if !follow {
        container.first_output().await;
    }
    let content_type = match (call.at_least(42), tty) {
        (true, false) => "application/vnd.docker.multiplexed-stream",
        (true, true) => "application/vnd.docker.raw-stream",
        _ => "",
    };
    let (pieces, mut coming) = mpsc::channel(4);
    let (path, watched) = (container.log_path(), follow.then(|| container.clone()));
    let mut reply = call.ex.stream(StatusCode::OK, content_type).await?;
    // Ends when the log does, or when the receiver is dropped.
    let reading = tokio::task::spawn_blocking(move || read(&path, &wanted, watched.as_deref(), &pieces));
    loop {
        let piece: Option<Vec<u8>> = tokio::select! {
            piece = coming.recv() => piece,
            () = reply.closed() => return Ok(()),
        };
        match piece {
            Some(piece) => reply.send(&piece).await?,
            None => break,
        }
    }
    if let Ok(Err(error)) = reading.await {
        tracing::warn!(container = %container.id, %error, "could not read the log");
    }
    Ok(reply.end().await?)
}

/// For attach with `logs`: all that was written so far.
pub(super) async fn replay(
    container: &Container,
    writer: &mut engine_http::BoxWrite,
    streams: Streams,
    tty: bool,
) -> std::io::Result<()> {
    use tokio::io::AsyncWriteExt;
    let wanted = Wanted { stdout: streams.stdout, stderr: streams.stderr, tty, ..Wanted::default() };
    let path = container.log_path();
    let (pieces, mut coming) = mpsc::channel(4);
    let reading = tokio::task::spawn_blocking(move || read(&path, &wanted, None, &pieces));
    while let Some(piece) = coming.recv().await {
        writer.write_all(&piece).await?;
    }
    // A log that cannot be read replays nothing.
    let _ = reading.await;
    writer.flush().await
}

/// Reads the files, and follows the last one while `watched` runs. Blocking.
fn read(
    path: &Path,
    wanted: &Wanted,
    watched: Option<&Container>,
    out: &mpsc::Sender<Vec<u8>>,
) -> std::io::Result<()> {
    let files = files(path);
    let (first, offset) = match wanted.tail {
        Some(lines) => find_tail(&files, lines)?,
        None => (0, 0),
    };
    let mut sink = Sink { wanted, out, piece: Vec::with_capacity(PIECE + 1024), entry: Entry::default() };
    let mut last = None;
    for (index, file) in files.iter().enumerate().skip(first) {
        let Ok(mut follower) = Follower::open(file, if index == first { offset } else { 0 }) else {
            continue;
        };
        if !sink.drain(&mut follower)? {
            return Ok(());
        }
        last = Some(follower);
    }
    let Some(container) = watched else { return sink.flush().map(drop) };
    loop {
        // Ask first, read then: what was written before the end is not missed.
        let running = container.record().state.running;
        if last.is_none() {
            last = Follower::open(path, 0).ok();
        }
        if let Some(follower) = &mut last {
            let rotated = follower.was_rotated(path);
            if !sink.drain(follower)? || !sink.flush()? {
                return Ok(());
            }
            if rotated {
                last = Follower::open(path, 0).ok();
                continue;
            }
        }
        if !running || out.is_closed() {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

struct Sink<'a> {
    wanted: &'a Wanted,
    out: &'a mpsc::Sender<Vec<u8>>,
    piece: Vec<u8>,
    entry: Entry,
}

impl Sink<'_> {
    /// Everything that is there. False: nothing more is wanted.
    fn drain(&mut self, follower: &mut Follower) -> std::io::Result<bool> {
        while let Some(line) = follower.next()? {
            if !parse_line(line.trim_ascii_end(), &mut self.entry) {
                continue;
            }
            if !self.push() {
                self.flush()?;
                return Ok(false);
            }
            if self.piece.len() >= PIECE && !self.flush()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn push(&mut self) -> bool {
        let (wanted, entry) = (self.wanted, &self.entry);
        if !(if entry.stderr { wanted.stderr } else { wanted.stdout }) {
            return true;
        }
        if wanted.since.is_some() || wanted.until.is_some() {
            let at = entry.nanos();
            if wanted.since.is_some_and(|since| at < since) {
                return true;
            }
            if wanted.until.is_some_and(|until| at > until) {
                return false;
            }
        }
        let mut prefix = String::new();
        if wanted.details {
            prefix = format!("{} ", entry.details);
        }
        if wanted.timestamps {
            let time = clock::parse(&entry.time).map_or_else(|| entry.time.clone(), clock::rfc3339_padded);
            prefix = format!("{time} {prefix}");
        }
        if !wanted.tty {
            let length = u32::try_from(prefix.len() + entry.text.len()).unwrap_or(u32::MAX).to_be_bytes();
            self.piece.extend_from_slice(&[if entry.stderr { 2 } else { 1 }, 0, 0, 0]);
            self.piece.extend_from_slice(&length);
        }
        self.piece.extend_from_slice(prefix.as_bytes());
        self.piece.extend_from_slice(&entry.text);
        true
    }

    /// Sends what is there. False: nobody listens.
    fn flush(&mut self) -> std::io::Result<bool> {
        if self.piece.is_empty() {
            return Ok(true);
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE + 1024));
        Ok(self.out.blocking_send(piece).is_ok())
    }
}
