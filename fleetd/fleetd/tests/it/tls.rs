//! Mutual TLS: who may do what, and machines that ask each other.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fleet_testbed::{Answer, eventually, exchange, free_port};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::world::{PLAIN, SOON, World, options};

/// An authority, and files for those that it trusts.
struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Self {
        let dir = dir.join(name);
        std::fs::create_dir(&dir).expect("a directory");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(dir.join("ca.pem"), certificate.pem()).expect("writes");
        Self { dir, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key of that name, with that organisational unit if there is one.
    fn issue(&self, name: &str, unit: &str) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        params.distinguished_name.push(DnType::CommonName, name);
        if !unit.is_empty() {
            params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(self.dir.join(format!("{name}.pem")), certificate.pem()).expect("writes");
        std::fs::write(self.dir.join(format!("{name}-key.pem")), key.serialize_pem()).expect("writes");
    }

    /// What a client of that name gets; nothing when the handshake is refused.
    fn call(&self, client: &str, port: u16, method: &str, path: &str, body: &str) -> Option<Answer> {
        let file = |name: &str| self.dir.join(name);
        let own = (!client.is_empty())
            .then(|| (file(&format!("{client}.pem")), file(&format!("{client}-key.pem"))));
        Caller { ca: file("ca.pem"), own }.try_call(port, method, path, body)
    }
}

/// A client of the API over TLS.
pub(crate) struct Caller {
    ca: PathBuf,
    own: Option<(PathBuf, PathBuf)>,
}

impl Caller {
    /// A machine, with the certificate that it has now.
    pub(crate) fn member(dir: &Path) -> Self {
        Self { ca: dir.join("ca.pem"), own: Some((dir.join("cert.pem"), dir.join("key.pem"))) }
    }

    /// Of the certificate that it shows.
    pub(crate) fn serial(&self) -> Vec<u8> {
        let (cert, _) = self.own.as_ref().expect("it has one");
        let der = CertificateDer::from_pem_file(cert).expect("a certificate");
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).expect("a certificate");
        certificate.raw_serial().to_vec()
    }

    /// Somebody without a certificate.
    pub(crate) fn nobody(dir: &Path) -> Self {
        Self { ca: dir.join("ca.pem"), own: None }
    }

    pub(crate) fn call(&self, port: u16, method: &str, path: &str, body: &str) -> Answer {
        self.try_call(port, method, path, body).expect("an answer")
    }

    /// The certificate that the daemon shows.
    pub(crate) fn shown_by(&self, port: u16) -> Option<Vec<u8>> {
        let stream = self.connect(port)?;
        stream.conn.peer_certificates().map(|chain| chain[0].to_vec())
    }

    fn connect(&self, port: u16) -> Option<rustls::StreamOwned<rustls::ClientConnection, TcpStream>> {
        let read = |path: &Path| CertificateDer::from_pem_file(path).expect("a certificate");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(read(&self.ca)).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match &self.own {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let key = PrivateKeyDer::from_pem_file(key).expect("a key");
                builder.with_client_auth_cert(vec![read(cert)], key).expect("an identity")
            }
        };
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
        let tcp = TcpStream::connect(("127.0.0.1", port)).ok()?;
        tcp.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
        let mut stream = rustls::StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).ok()?;
        }
        Some(stream)
    }

    /// As `call`; nothing when nobody listens or the handshake is refused.
    pub(crate) fn try_call(&self, port: u16, method: &str, path: &str, body: &str) -> Option<Answer> {
        let mut stream = self.connect(port)?;
        // With TLS 1.3 a client learns only from the first answer that it was refused.
        let headers = ["Content-Type: application/json"];
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            exchange(&mut stream, method, path, &headers, body)
        }))
        .ok()
    }
}

/// Machines whose APIs listen on these ports of the loopback, with programs that tell their machine.
fn world(authority: &Authority, ports: &[u16]) -> Option<World> {
    let files = &authority.dir;
    (1..=ports.len()).for_each(|number| authority.issue(&format!("m{number}"), ""));
    World::start_with(ports.len(), |number, dir| {
        let bin = dir.join("bin");
        std::fs::create_dir(&bin).expect("a directory");
        let program = bin.join("journalctl");
        std::fs::write(&program, format!("#!/bin/sh\necho m{number}: $*\n")).expect("a program");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("executable");
        let port = ports[number - 1];
        vec![
            "public_ip=127.0.0.1".to_owned(),
            format!("listen={},127.0.0.1:{port}", dir.join("fleet.sock").display()),
            format!("tls_ca_file={}", files.join("ca.pem").display()),
            format!("tls_cert_file={}", files.join(format!("m{number}.pem")).display()),
            format!("tls_key_file={}", files.join(format!("m{number}-key.pem")).display()),
        ]
    })
}

#[test]
fn a_certificate_decides_what_its_holder_may_do() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (ours, theirs) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "theirs"));
    let port = free_port();
    let Some(_world) = world(&ours, &[port]) else { return };
    ours.issue("admin", "");
    ours.issue("reader", "read-only");
    theirs.issue("stranger", "");
    let unit = serde_json::json!({ "desiredState": "inactive", "options": options(PLAIN) }).to_string();
    let put = |who: &str| ours.call(who, port, "PUT", "/fleet/v1/units/a.service", &unit);
    let list = |who: &str| ours.call(who, port, "GET", "/fleet/v1/units", "");

    let refused = put("reader").expect("an answer");
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.message().contains("may only read"), "{refused:?}");
    assert_eq!(list("reader").expect("an answer").json(), serde_json::json!({}));
    assert_eq!(put("admin").expect("an answer").status, 201);
    let answer = list("reader").expect("an answer");
    assert_eq!(answer.json()["units"][0]["name"], "a.service");
    for (method, path) in [("DELETE", "/fleet/v1/units/a.service"), ("PUT", "/fleet/v1/drain/m1")] {
        assert_eq!(ours.call("reader", port, method, path, "").expect("an answer").status, 403);
    }
    let refused = list("").expect("an answer");
    assert_eq!(refused.status, 403, "a client without a certificate gets nothing: {refused:?}");
    // A stranger may trust our authority; it is not trusted for that.
    for file in ["stranger.pem", "stranger-key.pem"] {
        std::fs::copy(theirs.dir.join(file), ours.dir.join(file)).expect("copies");
    }
    assert!(list("stranger").is_none(), "a client of another authority gets nothing");
}

#[test]
fn the_journal_of_a_unit_comes_through_any_machine() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ours = Authority::new(dir.path(), "ours");
    let ports = [free_port(), free_port()];
    let Some(world) = world(&ours, &ports) else { return };
    world.put("a.service", &format!("{PLAIN}[X-Fleet]\nMachineID=m2\n"), "launched");
    assert_eq!(world.runner("a.service"), 1);
    eventually("m2 tells its state", SOON, || world.state_is("a.service", "m2", "active"));
    let expected = "m2: --no-pager -o short -n 10 -u a.service\n";
    for machine in &world.machines {
        assert_eq!(machine.call("GET", "/journal/a.service", "").body, expected, "through {}", machine.id);
    }
    ours.issue("reader", "read-only");
    let answer = ours.call("reader", ports[0], "GET", "/fleet/v1/journal/a.service", "");
    assert_eq!(answer.expect("an answer").body, expected, "those who may read may read journals");
}
