//! Small servers on loopback that answer as a test wants: one reply a connection, in their order.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What is sent back on a connection before it is closed.
pub(crate) enum Reply {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing, for so long.
    Silence(Duration),
}

/// A reply of that status with that body.
pub(crate) fn reply(status: &str, headers: &str, body: &[u8]) -> Reply {
    let mut bytes =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    Reply::Bytes(bytes)
}

/// A server, and the heads of the requests it has seen.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(replies: Vec<Reply>) -> Self {
        Self::start_with(replies, None)
    }

    /// Over TLS, with a certificate for 127.0.0.1; gives the certificate too.
    pub(crate) fn start_tls(replies: Vec<Reply>) -> (Self, String) {
        let names = ["127.0.0.1".to_owned(), "example.test".to_owned()];
        let signed = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .expect("key and certificate fit");
        (Self::start_with(replies, Some(Arc::new(config))), signed.cert.pem())
    }

    fn start_with(replies: Vec<Reply>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        thread::spawn(move || {
            for reply in replies {
                let Ok((stream, _)) = listener.accept() else { return };
                match &tls {
                    None => serve(stream, reply, &seen),
                    Some(config) => {
                        let connection = ServerConnection::new(config.clone()).expect("a good config");
                        serve(StreamOwned::new(connection, stream), reply, &seen);
                    }
                }
            }
        });
        Self { address, heads }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("nobody panics").clone()
    }
}

fn serve(stream: impl Read + Write, reply: Reply, seen: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        match stream.read_line(&mut head) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    seen.lock().expect("nobody panics").push(head);
    match reply {
        Reply::Bytes(bytes) => {
            let _ = stream.get_mut().write_all(&bytes);
            let _ = stream.get_mut().flush();
        }
        Reply::Silence(time) => thread::sleep(time),
    }
}

/// A TFTP server for one file, which loses the first data packet.
pub(crate) fn tftp(content: Vec<u8>) -> SocketAddr {
    let listener = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        let (length, client) = listener.recv_from(&mut buffer).expect("a request");
        assert!(buffer[2..length].starts_with(b"boot/my file\0octet\0blksize\0"), "{:?}", &buffer[..length]);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        let mut expect = |packet: &[u8], block: u16| {
            for _ in 0..5 {
                socket.send_to(packet, client).expect("it is sent");
                let Ok((length, _)) = socket.recv_from(&mut buffer) else { return };
                if buffer[..length] == [[0, 4], block.to_be_bytes()].concat() {
                    return;
                }
            }
        };
        expect(b"\0\x06blksize\x001000\0", 0);
        // The client repeats its last acknowledgement when block 1 does not come.
        for (index, data) in
            content.chunks(1000).chain(content.len().is_multiple_of(1000).then_some(&[][..])).enumerate()
        {
            let block = (index + 1) as u16;
            let packet = [&[0, 3][..], &block.to_be_bytes(), data].concat();
            if index == 0 {
                let mut lost = [0; 4];
                let _ = socket.recv_from(&mut lost);
            }
            expect(&packet, block);
        }
    });
    address
}
