//! The way to systemd: its private socket, which is there also where no message bus runs and which
//! only its own user may use, or else the message bus. A connection lives for one errand: systemd
//! writes signals to whoever is connected to its private socket, so none may lie there unread.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::wire::{ANSWER, Argument, Callee, ERROR, Malformed, Message, SIGNAL, call};
use crate::ManagerError;

const ANSWER_LIMIT: Duration = Duration::from_secs(30);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const SYSTEMD: Callee<'_> = Callee {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const BUS: Callee<'_> = Callee {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};
/// Says who it is by what the kernel says of it, which needs no word; all in one write, as nothing
/// that the other end could answer would change what is said next.
const HANDSHAKE: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";
/// What it answers to that ends with this line.
const WELCOME: &str = "OK ";

/// Why a call came to nothing.
#[derive(Debug)]
pub(super) enum CallError {
    /// systemd knows no unit of that name.
    NoSuchUnit(String),
    /// It refused for another reason, in its own words.
    Refused(String),
    /// It was not reached, or not understood.
    Other(ManagerError),
}

impl CallError {
    /// For what need not be done any more if systemd will not do it.
    pub(super) fn unless_refused(self) -> Result<(), Self> {
        match self {
            Self::NoSuchUnit(_) | Self::Refused(_) => Ok(()),
            Self::Other(_) => Err(self),
        }
    }
}

impl From<CallError> for ManagerError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NoSuchUnit(reason) | CallError::Refused(reason) => Self::Refused(reason),
            CallError::Other(error) => error,
        }
    }
}

impl From<Malformed> for CallError {
    fn from(error: Malformed) -> Self {
        Self::Other(ManagerError::Protocol(error.to_string()))
    }
}

/// Where a systemd can be reached.
#[derive(Clone, Debug)]
pub(super) struct Ways {
    private: Option<PathBuf>,
    bus: Option<PathBuf>,
}

impl Ways {
    /// To the machine's systemd.
    pub(super) fn of_system() -> Self {
        let bus = bus_socket("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or("/run/dbus/system_bus_socket".into());
        Self { private: Some("/run/systemd/private".into()), bus: Some(bus) }
    }

    /// To the systemd of the user that this program runs as.
    pub(super) fn of_user() -> Self {
        let folder = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).unwrap_or_else(|| {
            let user = std::fs::metadata("/proc/self").map_or(0, |own| own.uid());
            format!("/run/user/{user}").into()
        });
        let bus = bus_socket("DBUS_SESSION_BUS_ADDRESS").unwrap_or_else(|| folder.join("bus"));
        Self { private: Some(folder.join("systemd/private")), bus: Some(bus) }
    }

    /// Over this message bus only.
    pub(super) fn bus(socket: &Path) -> Self {
        Self { private: None, bus: Some(socket.to_owned()) }
    }

    /// A connection.
    pub(super) async fn open(&self) -> Result<Connection, CallError> {
        let opened = tokio::time::timeout(CONNECT_LIMIT, self.connect()).await;
        opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|source| {
            let ways = [&self.private, &self.bus].into_iter().flatten();
            let ways: Vec<String> = ways.map(|way| way.display().to_string()).collect();
            CallError::Other(ManagerError::Unreachable { at: ways.join(" or "), source })
        })
    }

    async fn connect(&self) -> io::Result<Connection> {
        let private = match &self.private {
            Some(socket) => Connection::open(socket).await,
            None => Err(io::ErrorKind::NotFound.into()),
        };
        match (private, &self.bus) {
            (Ok(connection), _) => Ok(connection),
            (Err(error), None) => Err(error),
            (Err(_), Some(socket)) => {
                let mut connection = Connection::open(socket).await?;
                connection.over_bus = true;
                connection
                    .ask(BUS, "Hello", &[])
                    .await
                    .map_err(|error| io::Error::other(format!("{error:?}")))?;
                Ok(connection)
            }
        }
    }
}

/// The socket that an environment's variable names as the bus; other transports are not for machines.
fn bus_socket(variable: &str) -> Option<PathBuf> {
    let addresses = std::env::var(variable).ok()?;
    let mut paths = addresses.split(';').filter_map(|address| address.strip_prefix("unix:path="));
    paths.next().map(|path| path.split(',').next().unwrap_or(path).into())
}

/// A connection to a systemd, or to the bus that it is on.
pub(super) struct Connection {
    socket: PathBuf,
    stream: UnixStream,
    over_bus: bool,
    serial: u32,
    /// What came and was not looked at yet.
    received: Vec<u8>,
    /// Signals that came before an answer.
    signals: VecDeque<Message>,
    listens: bool,
}

impl Connection {
    async fn open(socket: &Path) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", socket.display()));
        let mut connection = Self {
            socket: socket.to_owned(),
            stream: UnixStream::connect(socket).await.map_err(named)?,
            over_bus: false,
            serial: 0,
            received: Vec::new(),
            signals: VecDeque::new(),
            listens: false,
        };
        connection.stream.write_all(HANDSHAKE).await?;
        loop {
            let line = connection.line().await?;
            if line.starts_with(WELCOME) {
                return Ok(connection);
            }
            // Any other line but the question for a word of ours is a no.
            if line.trim() != "DATA" {
                let refused = format!("{}: it does not take this user: {}", socket.display(), line.trim());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, refused));
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.receive().await?;
        }
    }

    /// Calls a method of systemd's manager.
    pub(super) async fn call(
        &mut self,
        method: &str,
        arguments: &[Argument<'_>],
    ) -> Result<Message, CallError> {
        self.ask(SYSTEMD, method, arguments).await
    }

    /// From now on signals are kept, and come when they are asked for.
    pub(super) async fn listen(&mut self) -> Result<(), CallError> {
        self.listens = true;
        if !self.over_bus {
            return Ok(());
        }
        let rule =
            format!("type='signal',sender='{}',path_namespace='{}'", SYSTEMD.destination, SYSTEMD.path);
        self.ask(BUS, "AddMatch", &[Argument::Text(&rule)]).await?;
        // It tells the bus of nothing until somebody asks.
        self.call("Subscribe", &[]).await.map(drop)
    }

    /// The next signal. May be given up at any time.
    pub(super) async fn signal(&mut self) -> Result<Message, CallError> {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(signal);
            }
            let message = self.message().await?;
            self.keep(message);
        }
    }

    fn keep(&mut self, message: Message) {
        if self.listens && message.kind == SIGNAL {
            self.signals.push_back(message);
        }
    }

    async fn ask(
        &mut self,
        callee: Callee<'_>,
        method: &str,
        arguments: &[Argument<'_>],
    ) -> Result<Message, CallError> {
        self.serial += 1;
        let bytes = call(self.serial, callee, method, arguments);
        let answered = async {
            self.stream.write_all(&bytes).await.map_err(|error| self.broken(error))?;
            loop {
                let message = self.message().await?;
                if message.answers == self.serial && matches!(message.kind, ANSWER | ERROR) {
                    return Ok(message);
                }
                self.keep(message);
            }
        };
        let answer = tokio::time::timeout(ANSWER_LIMIT, answered).await;
        let answer = answer
            .unwrap_or_else(|_| Err(CallError::Other(ManagerError::Timeout { what: method.to_owned() })))?;
        if answer.kind == ANSWER { Ok(answer) } else { Err(refusal(method, &answer)) }
    }

    async fn message(&mut self) -> Result<Message, CallError> {
        loop {
            if let Some((message, length)) = Message::parse(&self.received)? {
                self.received.drain(..length);
                return Ok(message);
            }
            self.receive().await.map_err(|error| self.broken(error))?;
        }
    }

    async fn receive(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up")),
            _ => Ok(()),
        }
    }

    fn broken(&self, source: io::Error) -> CallError {
        CallError::Other(ManagerError::Unreachable { at: self.socket.display().to_string(), source })
    }
}

/// What an error says to whom it may concern.
fn refusal(method: &str, error: &Message) -> CallError {
    let text = error.said("s").and_then(|mut said| said.text()).unwrap_or_else(|_| error.error.clone());
    let reason = format!("{method}: {}", text.trim_end_matches('.'));
    match error.error.strip_prefix("org.freedesktop.").unwrap_or_default() {
        "systemd1.NoSuchUnit" => CallError::NoSuchUnit(reason),
        "DBus.Error.AccessDenied" | "DBus.Error.InteractiveAuthorizationRequired" => CallError::Refused(
            format!("{reason}; run fleetd as root, or set systemd_user for the systemd of its user"),
        ),
        "DBus.Error.ServiceUnknown" | "DBus.Error.NameHasNoOwner" | "DBus.Error.NoReply" => {
            let source = io::Error::other(reason);
            CallError::Other(ManagerError::Unreachable { at: SYSTEMD.destination.to_owned(), source })
        }
        _ => CallError::Refused(reason),
    }
}
