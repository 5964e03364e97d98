//! A server of a few paths, on TCP, on TLS and on a unix socket, that remembers what it was asked.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) tls_port: u16,
    /// A port on which nobody listens.
    pub(crate) closed_port: u16,
    /// A port that takes connections and never says a word.
    pub(crate) silent_port: u16,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    _silent: TcpListener,
}

impl Server {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let hits = Arc::new(AtomicUsize::new(0));
        let tcp = listener();
        let tls = listener();
        let silent = listener();
        let closed = listener();
        let [port, tls_port, silent_port, closed_port] =
            [&tcp, &tls, &silent, &closed].map(|socket| socket.local_addr().expect("bound").port());
        drop(closed);
        let (log, count) = (asked.clone(), hits.clone());
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let (log, count) = (log.clone(), count.clone());
                std::thread::spawn(move || serve(stream, port, &log, &count));
            }
        });
        let config = Arc::new(tls_config(&dir));
        let (log, count) = (asked.clone(), hits.clone());
        std::thread::spawn(move || {
            for stream in tls.incoming().flatten() {
                let connection = ServerConnection::new(config.clone()).expect("a session");
                serve(StreamOwned::new(connection, stream), tls_port, &log, &count);
            }
        });
        let unix = UnixListener::bind(dir.path().join("socket")).expect("a socket");
        let log = asked.clone();
        std::thread::spawn(move || {
            for stream in unix.incoming().flatten() {
                serve(stream, 0, &log, &hits);
            }
        });
        Self { port, tls_port, closed_port, silent_port, dir, asked, _silent: silent }
    }
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port on loopback")
}

/// A certificate for `localhost`, of an authority in `ca.pem`.
fn tls_config(dir: &tempfile::TempDir) -> ServerConfig {
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec![]).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // Two certificates of one name are one issuer to OpenSSL.
    params.distinguished_name.push(rcgen::DnType::CommonName, "an authority of these tests");
    let ca = params.self_signed(&ca_key).expect("an authority");
    std::fs::write(dir.path().join("ca.pem"), ca.pem()).expect("it is written");
    let issuer = rcgen::Issuer::new(params, ca_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("they belong together")
}

fn serve(mut stream: impl Read + Write, port: u16, log: &Mutex<Vec<String>>, hits: &AtomicUsize) {
    let Some((head, body)) = read_request(&mut stream) else { return };
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    log.lock().expect("no panic").push(format!("{head}{body}"));
    let path = target.split('?').next().unwrap_or_default();
    let answer = match path {
        "/hello" => ok("hello\n"),
        "/echo" => ok(&body),
        "/missing" => "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\ngone\n".into(),
        "/moved" => format!("HTTP/1.1 302 Found\r\nLocation: /hello?{port}\r\nContent-Length: 0\r\n\r\n"),
        "/kept" => "HTTP/1.1 307 Temporary Redirect\r\nLocation: /echo\r\nContent-Length: 0\r\n\r\n".into(),
        "/circle" => "HTTP/1.1 301 Moved\r\nLocation: /circle\r\nContent-Length: 0\r\n\r\n".into(),
        "/chunked" => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n".into()
        }
        "/short" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".into(),
        "/mute" => String::new(),
        "/slow" => {
            std::thread::sleep(Duration::from_secs(3));
            ok("late\n")
        }
        // Every other time.
        "/flaky" if hits.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) => {
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nbusy\n".into()
        }
        "/flaky" => ok("at last\n"),
        _ => ok(&format!("{target}\n")),
    };
    let head_only = head.starts_with("HEAD ");
    let end =
        if head_only { answer.find("\r\n\r\n").map_or(answer.len(), |at| at + 4) } else { answer.len() };
    let _ = stream.write_all(&answer.as_bytes()[..end]);
    let _ = stream.flush();
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn read_request(stream: &mut (impl Read + Write)) -> Option<(String, String)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        // Someone speaks TLS to the plain port: told off in plain words, as servers do.
        if head.is_empty() && byte[0] == 0x16 {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8_lossy(&body).into_owned()))
}
