//! Moves frames between connections until nobody has been connected for a while.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::dhcp;
use crate::forwarding::{Egress, Forwarding, Port};
use crate::frame::MAX_FRAME;
use crate::lease::{Leases, Network};

/// Frames that wait for a slow machine before the next are dropped, as on any Ethernet.
const QUEUE: usize = 1024;
/// More connections than machines that a network has addresses for.
const MAX_PORTS: usize = 256;

/// What to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// The socket; one that nobody listens on is replaced.
    pub socket: PathBuf,
    /// Where given addresses are kept.
    pub leases: PathBuf,
    /// Addresses that somebody else decided, in the same form; read again at every question. It need
    /// not be there.
    pub reserved: PathBuf,
    /// While this file is there, firmware that boots from the network is answered by somebody on the
    /// wire instead.
    pub firmware: PathBuf,
    /// The network.
    pub network: Network,
    /// How long to go on without any machine.
    pub idle: Duration,
}

/// Why the switch cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another switch is there already, which is as good.
    #[error("another switch serves {}", .0.display())]
    Taken(PathBuf),
    /// The socket cannot be made.
    #[error("could not listen on {}", path.display())]
    Listen {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No more connections come.
    #[error("could not take a connection")]
    Accept(#[source] io::Error),
}

#[derive(Default)]
struct Shared {
    forwarding: Forwarding,
    leases: Leases,
    ports: BTreeMap<Port, Sender<Arc<[u8]>>>,
}

struct Switch {
    options: Options,
    shared: Mutex<Shared>,
}

/// Serves until no machine was connected for [`Options::idle`]. The socket is gone then.
pub async fn serve(options: Options) -> Result<(), ServeError> {
    let listener = listen(&options).await?;
    let leases = Leases::parse(&std::fs::read_to_string(&options.leases).unwrap_or_default());
    let shared = Mutex::new(Shared { leases, ..Shared::default() });
    let switch = Arc::new(Switch { options, shared });
    let mut connections = JoinSet::new();
    let mut next = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.map_err(ServeError::Accept)?;
                if connections.len() < MAX_PORTS {
                    next += 1;
                    connections.spawn(connection(Arc::clone(&switch), Port(next), stream));
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = tokio::time::sleep(switch.options.idle), if connections.is_empty() => break,
        }
    }
    // Whoever comes now finds nobody and starts another.
    let _ = std::fs::remove_file(&switch.options.socket);
    Ok(())
}

async fn listen(options: &Options) -> Result<UnixListener, ServeError> {
    let path = &options.socket;
    let failed = |source| ServeError::Listen { path: path.clone(), source };
    if UnixStream::connect(path).await.is_ok() {
        return Err(ServeError::Taken(path.clone()));
    }
    // Bound beside and renamed, so that the socket is never there without somebody listening.
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside).map_err(failed)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)?;
    Ok(listener)
}

async fn connection(switch: Arc<Switch>, port: Port, stream: UnixStream) {
    let (reader, writer) = stream.into_split();
    let (sender, receiver) = mpsc::channel(QUEUE);
    switch.with(|shared| shared.ports.insert(port, sender));
    tracing::debug!(port = port.0, "machine connected");
    // Either end closing ends the connection.
    let outcome = tokio::select! {
        outcome = receive(&switch, port, reader) => outcome,
        outcome = send(receiver, writer) => outcome,
    };
    switch.with(|shared| {
        shared.ports.remove(&port);
        shared.forwarding.gone(port);
    });
    tracing::debug!(port = port.0, ?outcome, "machine disconnected");
}

async fn receive(switch: &Switch, port: Port, reader: OwnedReadHalf) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(256 * 1024, reader);
    loop {
        let length = reader.read_u32().await? as usize;
        if length > MAX_FRAME {
            return Err(io::Error::other(format!("a frame of {length} bytes")));
        }
        let mut frame = vec![0; length];
        reader.read_exact(&mut frame).await?;
        switch.frame(port, frame.into());
    }
}

async fn send(mut frames: Receiver<Arc<[u8]>>, writer: OwnedWriteHalf) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(256 * 1024, writer);
    while let Some(frame) = frames.recv().await {
        write(&mut writer, &frame).await?;
        while let Ok(frame) = frames.try_recv() {
            write(&mut writer, &frame).await?;
        }
        // A machine that stands still must not keep its connection's memory for ever.
        timeout(Duration::from_secs(60), writer.flush()).await??;
    }
    Ok(())
}

async fn write(writer: &mut BufWriter<OwnedWriteHalf>, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).expect("a frame is short");
    timeout(Duration::from_secs(60), async {
        writer.write_u32(length).await?;
        writer.write_all(frame).await
    })
    .await?
}

impl Switch {
    fn with<T>(&self, work: impl FnOnce(&mut Shared) -> T) -> T {
        // A panic elsewhere leaves tables that are still good to forward by.
        work(&mut self.shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn frame(&self, port: Port, frame: Arc<[u8]>) {
        let changed = self.with(|shared| {
            if dhcp::is_question(&frame)
                && let Ok(text) = std::fs::read_to_string(&self.options.reserved)
            {
                shared.leases.reserve(&Leases::parse(&text));
            }
            let elsewhere = dhcp::is_firmware(&frame) && self.options.firmware.exists();
            if !elsewhere
                && let Some((answer, is_new)) = dhcp::answer(&frame, self.options.network, &mut shared.leases)
            {
                if let Some(sender) = shared.ports.get(&port) {
                    // A full queue drops it; the client asks again.
                    let _ = sender.try_send(answer.into());
                }
                return is_new.then(|| shared.leases.to_text());
            }
            match shared.forwarding.frame(port, &frame) {
                Egress::Drop => {}
                Egress::One(to) => {
                    if let Some(sender) = shared.ports.get(&to) {
                        let _ = sender.try_send(frame);
                    }
                }
                Egress::Flood => {
                    for (_, sender) in shared.ports.iter().filter(|(to, _)| **to != port) {
                        let _ = sender.try_send(Arc::clone(&frame));
                    }
                }
            }
            None
        });
        if let Some(text) = changed {
            self.keep(&text);
        }
    }

    fn keep(&self, text: &str) {
        let path = &self.options.leases;
        let beside = path.with_extension("new");
        let kept = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, path));
        if let Err(error) = kept {
            tracing::warn!(path = %path.display(), %error, "addresses are not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::dhcp::tests::ask;
    use crate::frame::Mac;

    fn options(dir: &std::path::Path) -> Options {
        Options {
            socket: dir.join("switch.sock"),
            leases: dir.join("leases"),
            reserved: dir.join("reserved"),
            firmware: dir.join("pxe.address"),
            network: Network { base: Ipv4Addr::new(10, 88, 0, 0) },
            idle: Duration::from_millis(200),
        }
    }

    async fn connect(options: &Options) -> UnixStream {
        for _ in 0..200 {
            if let Ok(stream) = UnixStream::connect(&options.socket).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("nobody listens");
    }

    async fn tell(stream: &mut UnixStream, frame: &[u8]) {
        stream.write_u32(u32::try_from(frame.len()).expect("short")).await.expect("written");
        stream.write_all(frame).await.expect("written");
    }

    async fn hear(stream: &mut UnixStream) -> Vec<u8> {
        let length =
            timeout(Duration::from_secs(5), stream.read_u32()).await.expect("in time").expect("a length");
        let mut frame = vec![0; length as usize];
        stream.read_exact(&mut frame).await.expect("a frame");
        frame
    }

    fn frame(to: [u8; 6], from: u8, text: &[u8]) -> Vec<u8> {
        let mut frame = to.to_vec();
        frame.extend([2, 0, 0, 0, 0, from, 0x88, 0xb5]);
        frame.extend(text);
        frame
    }

    #[tokio::test]
    async fn machines_hear_each_other_get_addresses_and_the_last_one_turns_off_the_light() {
        let dir = tempfile::tempdir().expect("a folder");
        let options = options(dir.path());
        let server = tokio::spawn(serve(options.clone()));
        let (mut a, mut b, mut c) =
            (connect(&options).await, connect(&options).await, connect(&options).await);
        assert!(matches!(serve(options.clone()).await, Err(ServeError::Taken(_))));
        let hello = frame([0xff; 6], 1, b"hello");
        // A connection is a port only once the switch took it.
        tell(&mut b, &ask(Mac([2, 0, 0, 0, 0, 2]), 1, &[])).await;
        tell(&mut c, &ask(Mac([2, 0, 0, 0, 0, 3]), 1, &[])).await;
        assert_eq!(hear(&mut b).await[..6], [2, 0, 0, 0, 0, 2]);
        assert_eq!(hear(&mut c).await[..6], [2, 0, 0, 0, 0, 3]);
        tell(&mut a, &hello).await;
        assert_eq!((hear(&mut b).await, hear(&mut c).await), (hello.clone(), hello));
        let answer = frame([2, 0, 0, 0, 0, 1], 2, b"for a alone");
        tell(&mut b, &answer).await;
        assert_eq!(hear(&mut a).await, answer);
        let nothing = timeout(Duration::from_millis(100), c.read_u32()).await;
        assert!(nothing.is_err(), "c hears what is not for it");
        assert_eq!(std::fs::read_to_string(&options.leases).expect("leases").lines().count(), 2);
        drop((a, b, c));
        timeout(Duration::from_secs(5), server).await.expect("it ends").expect("no panic").expect("no error");
        assert!(!options.socket.exists());
    }
}
