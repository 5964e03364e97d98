//! A machine's way to its certificate, without a network.

use fleet_join::{
    Authority, CertificateRole, Holder, Identity, Joined, MEMBER_LIFE, MemberRole, SigningRequest,
    canonical_pem, digest_of,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::{Duration, OffsetDateTime};

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time")
}

fn role_of(pem: &str) -> Option<CertificateRole> {
    CertificateRole::of(&CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate"))
}

fn signed(authority: &Authority, names: &[&str]) -> (SigningRequest, String) {
    let request = SigningRequest::create("liar").expect("a request");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let cert = authority.sign(&request.request, "m1", &names, MemberRole::Worker, now(), MEMBER_LIFE);
    (request, cert.expect("a certificate"))
}

#[test]
fn of_a_request_only_the_key_counts() {
    let authority = Authority::create("demo", now()).expect("an authority");
    let (_, cert) = signed(&authority, &["w1", "10.0.0.1", "fd00::1", "w1"]);
    let machine = CertificateRole::Machine { id: "m1".into(), role: MemberRole::Worker };
    assert_eq!(role_of(&cert), Some(machine));
    let der = CertificateDer::from_pem_slice(cert.as_bytes()).expect("a certificate");
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).expect("parses");
    let names = parsed.subject_alternative_name().expect("readable").expect("there");
    assert_eq!(names.value.general_names.len(), 3);
    assert!(parsed.validity().not_after.to_datetime() == now() + MEMBER_LIFE);
    let ca = CertificateDer::from_pem_slice(authority.pair().cert.as_bytes()).expect("a certificate");
    let (_, ca) = x509_parser::parse_x509_certificate(&ca).expect("parses");
    assert!(parsed.verify_signature(Some(ca.public_key())).is_ok());
}

#[test]
fn people_get_certificates_that_say_what_they_may() {
    let authority = Authority::create("demo", now()).expect("an authority");
    let admin = authority.issue("me", Holder::Admin, now()).expect("a certificate");
    let reader = authority.issue("you", Holder::ReadOnly, now()).expect("a certificate");
    assert_eq!(role_of(&admin.cert), Some(CertificateRole::Admin));
    assert_eq!(role_of(&reader.cert), Some(CertificateRole::ReadOnly));
}

#[test]
fn an_authority_is_what_it_was_after_reading_it_back() {
    let authority = Authority::create("demo", now()).expect("an authority");
    let pair = authority.pair();
    let with_words = format!("some words\r\n{}", pair.cert.replace('\n', "\r\n"));
    let again = Authority::load(&with_words, &pair.key).expect("loads");
    assert_eq!(again.organization(), "demo");
    assert_eq!(digest_of(&canonical_pem(&with_words).expect("a certificate")), digest_of(&pair.cert));
    let other = Authority::create("other", now()).expect("an authority");
    let refused = Authority::load(&pair.cert, &other.pair().key).expect_err("another's key");
    assert!(refused.to_string().contains("does not belong"), "{refused}");
    let (request, _) = signed(&authority, &[]);
    let mut damaged = request.request.clone();
    // Within the public key or the signature: what is read no longer proves that the key is held.
    let at = damaged.len() / 2;
    let other = if damaged.as_bytes()[at] == b'A' { "B" } else { "A" };
    damaged.replace_range(at..=at, other);
    assert!(authority.sign(&damaged, "m1", &[], MemberRole::Worker, now(), MEMBER_LIFE).is_err());
    let name = ["no spaces\n".to_owned()];
    assert!(authority.sign(&request.request, "m1", &name, MemberRole::Worker, now(), MEMBER_LIFE).is_err());
}

#[test]
fn the_files_of_a_member_are_secret_and_whole() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    let identity = Identity::at(dir.path().join("tls"));
    assert!(!identity.exists());
    let authority = Authority::create("demo", now()).expect("an authority");
    let (request, certificate) = signed(&authority, &["m1"]);
    let joined = Joined {
        authority: authority.pair().cert.clone(),
        certificate,
        key: request.key,
        role: MemberRole::Manager,
        authority_key: Some(authority.pair().key.clone()),
    };
    for _ in 0..2 {
        identity.save(&joined).expect("saves");
    }
    assert!(identity.exists() && identity.load().is_ok() && identity.authority().is_ok());
    for (name, mode) in
        [("identity.pem", 0o600), ("key.pem", 0o600), ("ca-key.pem", 0o600), ("ca.pem", 0o644)]
    {
        let has = std::fs::metadata(identity.path(name)).expect("there").permissions().mode();
        assert_eq!(has & 0o777, mode, "{name}");
    }
    let validity = identity.validity().expect("readable");
    assert!(!validity.is_old(now()) && validity.is_old(now() + MEMBER_LIFE - Duration::days(29)));
    std::fs::write(identity.path("identity.pem"), "nonsense").expect("writes");
    let damaged = identity.load().expect_err("damaged").to_string();
    assert!(damaged.ends_with("holds no certificate; remove the directory and join again"), "{damaged}");
}
