//! The conversation with a shim, over `shim.sock` in its state directory.
//!
//! A message is one byte of kind, four bytes of length (little endian) and the
//! payload. A connection starts with [`Kind::Request`]s, each answered by one
//! [`Kind::Reply`]. After `Attach` or an attached `Exec` is answered, the
//! connection carries that session's stream until its [`Kind::Exit`].

use serde::{Deserialize, Serialize};

use crate::spec::ExecSpec;

/// Longest payload either side accepts.
pub const MAX_PAYLOAD: usize = 4 * 1024 * 1024;
/// Bytes before each payload.
pub const HEADER: usize = 5;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Request = 1,
    Reply = 2,
    /// Bytes for the program's stdin.
    Stdin = 10,
    /// The program's output; a terminal's output is all `Stdout`.
    Stdout = 11,
    Stderr = 12,
    /// The client will send no more stdin.
    StdinEof = 13,
    /// The session ended; an [`Exit`]. The last message of a stream.
    Exit = 14,
}

impl Kind {
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Request,
            2 => Self::Reply,
            10 => Self::Stdin,
            11 => Self::Stdout,
            12 => Self::Stderr,
            13 => Self::StdinEof,
            14 => Self::Exit,
            _ => return None,
        })
    }
}

/// The head of a message of `len` payload bytes.
#[must_use]
pub fn header(kind: Kind, len: usize) -> [u8; HEADER] {
    let len = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
    [kind as u8, len[0], len[1], len[2], len[3]]
}

/// A whole message.
#[must_use]
pub fn message(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.extend_from_slice(&header(kind, payload.len()));
    out.extend_from_slice(payload);
    out
}

/// Kind and payload length, or what is wrong with these five bytes.
pub fn parse_header(bytes: [u8; HEADER]) -> Result<(Kind, usize), String> {
    let kind = Kind::from_byte(bytes[0]).ok_or_else(|| format!("unknown message kind {}", bytes[0]))?;
    let len = u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) as usize;
    if len > MAX_PAYLOAD {
        return Err(format!("message of {len} bytes is longer than {MAX_PAYLOAD}"));
    }
    Ok((kind, len))
}

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Let the prepared program run. Answered when it was exec'd, or failed.
    Start,
    /// Where the container stands.
    State,
    /// Answered when the container has ended.
    Wait,
    /// Turn this connection into the container's (or an exec session's) stream.
    Attach {
        exec: Option<String>,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    },
    /// Run a further process. With any stream asked for, the connection
    /// becomes its stream after the reply.
    Exec {
        spec: Box<ExecSpec>,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    },
    /// State of an exec session, also after its end.
    ExecState {
        id: String,
    },
    Resize {
        exec: Option<String>,
        rows: u16,
        columns: u16,
    },
    /// A signal by number, to the container's or the exec session's process.
    Signal {
        exec: Option<String>,
        signal: i32,
    },
    /// Start a new log file now (after the old one was moved).
    ReopenLog,
    /// End a container that was prepared but never started.
    Abandon,
}

/// The answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    /// First message of the spawning connection: everything is set up.
    Prepared {
        pid: i32,
        warnings: Vec<String>,
    },
    Started {
        pid: i32,
    },
    Done,
    State {
        pid: i32,
        running: bool,
        exit: Option<Exit>,
    },
    Exited {
        exit: Exit,
    },
    /// Set-up or exec failed; `code` is the exit code Docker reports for it
    /// (126, 127, or 128 for anything else).
    Failed {
        code: i32,
        message: String,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// 0-255; 128+n when killed by signal n.
    pub code: i32,
    /// The signal that killed it.
    #[serde(default)]
    pub signal: Option<i32>,
    #[serde(default)]
    pub oom_killed: bool,
    /// Nanoseconds since 1970.
    pub finished_at: i64,
    /// Set when the program never ran.
    #[serde(default)]
    pub error: Option<String>,
}

/// The file the exit is written to, in the state directory.
pub const STATUS_FILE: &str = "exit.json";
/// The file with the started container's [`Started`].
pub const STARTED_FILE: &str = "started.json";
pub const SPEC_FILE: &str = "spec.json";
pub const SOCKET_FILE: &str = "shim.sock";

/// What a shim notes down once its program runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The container's first process, in the host's numbers.
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`, so that a reused number is noticed.
    pub pid_start: u64,
    pub shim_pid: i32,
    pub started_at: i64,
}
