//! What a revocation list does to its certificates: at the next handshake, and on connections that are open.

use std::{path::Path, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::ServerName;
use time::{Duration as Span, OffsetDateTime};

use super::*;

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), Issuer::new(params, key))
}

fn issue(issuer: &Issuer<'static, KeyPair>, serial: u64) -> (String, String) {
    let mut params = CertificateParams::new(vec!["kv".to_owned()]).expect("a name");
    params.serial_number = Some(SerialNumber::from(serial));
    let key = KeyPair::generate().expect("a key");
    (params.signed_by(&key, issuer).expect("a certificate").pem(), key.serialize_pem())
}

fn list(issuer: &Issuer<'static, KeyPair>, serials: &[u64]) -> String {
    let now = OffsetDateTime::now_utc();
    let revoked = |serial: &u64| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: now,
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: now,
        next_update: now + Span::days(1),
        crl_number: SerialNumber::from(serials.len() as u64),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(issuer).expect("a list").pem().expect("PEM")
}

fn client(ca: &str, (cert, key): &(String, String)) -> Arc<rustls::ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("PEM")).expect("a CA");
    let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions");
    Arc::new(builder.with_root_certificates(roots).with_client_auth_cert(chain, key).expect("an identity"))
}

/// The client's chain, when it is let in.
async fn meet(
    acceptor: &Acceptor,
    client: Arc<rustls::ClientConfig>,
) -> io::Result<Option<Vec<CertificateDer<'static>>>> {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let name = ServerName::try_from("kv").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(client);
    let tls = tokio_rustls::TlsAcceptor::from(acceptor.config());
    let (served, _) = tokio::join!(tls.accept(ours), connector.connect(name, theirs));
    Ok(served?.get_ref().1.peer_certificates().map(<[_]>::to_vec))
}

#[tokio::test]
async fn a_revoked_certificate_is_let_in_no_more_and_its_connections_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("writes");
    let path = |name: &str| Some(Path::new(dir.path()).join(name));
    let (ca, issuer) = authority();
    let (server, own_key) = issue(&issuer, 1);
    write("ca.pem", &ca);
    write("cert.pem", &server);
    write("key.pem", &own_key);
    write("crl.pem", &list(&issuer, &[]));
    let files = TlsFiles {
        cert: path("cert.pem"),
        key: path("key.pem"),
        ca: path("ca.pem"),
        crl: path("crl.pem"),
        require_client_cert: true,
    };
    let acceptor = Acceptor::new(&files).expect("loads");
    let [stays, goes] = [2, 3].map(|serial| client(&ca, &issue(&issuer, serial)));
    let open = meet(&acceptor, goes.clone()).await.expect("nothing is revoked yet");
    let other = meet(&acceptor, stays.clone()).await.expect("nor this");

    write("crl.pem", &list(&issuer, &[3]));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let limit = Duration::from_millis(200);
    let told = tokio::join!(
        tokio::time::timeout(limit, acceptor.distrusts(open)),
        tokio::time::timeout(limit, acceptor.distrusts(other)),
        async { acceptor.config() }
    );
    assert!(told.0.is_ok(), "the open connection ends");
    assert!(told.1.is_err(), "another goes on");
    let refused = meet(&acceptor, goes).await.expect_err("it is revoked");
    assert!(refused.to_string().to_lowercase().contains("revoked"), "{refused}");
    meet(&acceptor, stays).await.expect("the other is not");

    write("crl.pem", "nonsense");
    let broken = Acceptor::new(&files).err().expect("no list");
    assert!(broken.to_string().contains("crl.pem"), "{broken}");
}
