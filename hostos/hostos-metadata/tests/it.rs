//! Against metadata services on loopback, with the moods of real ones.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hostos_metadata::{MetadataError, Platform, Service};

/// Answers by method and path; the first `troubles` requests get 503.
fn fake(
    answers: &[(&str, &str)],
    troubles: usize,
    token: Option<&'static str>,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let answers: BTreeMap<String, String> =
        answers.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    thread::spawn(move || {
        for (turn, stream) in listener.incoming().flatten().enumerate() {
            let mut stream = stream;
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).unwrap_or(0);
            let head = String::from_utf8_lossy(&buffer[..count]).into_owned();
            log.lock().expect("no panic").push(head.clone());
            let key: Vec<&str> = head.split_whitespace().take(2).collect();
            let is_allowed = token.is_none_or(|token| head.contains(token)) || head.starts_with("PUT");
            let found = answers.get(&key.join(" "));
            let (status, body) = match found {
                _ if turn < troubles => (503, ""),
                _ if !is_allowed => (401, ""),
                Some(body) => (200, body.as_str()),
                None => (404, "not found"),
            };
            let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
            let text = if body.is_empty() {
                format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")
            } else {
                format!("HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}")
            };
            let _ = stream.write_all(text.as_bytes());
        }
    });
    (address, heard)
}

fn service(platform: Platform, address: SocketAddr) -> Service {
    Service::new(platform, Duration::from_secs(10)).at(address)
}

const DROPLET: &str = r#"{"droplet_id":2756294,"hostname":"sample","public_keys":["ssh-rsa AAAA me\n"],
  "interfaces":{"public":[{"ipv4":{"ip_address":"104.131.20.105"}}],"private":[{"ipv4":{"ip_address":"10.132.255.113"}}]}}"#;

#[test]
fn a_droplet_learns_about_itself_after_some_trouble() {
    let answers = [("GET /metadata/v1/user-data", "{\"ignition\":{}}"), ("GET /metadata/v1.json", DROPLET)];
    let (address, _) = fake(&answers, 2, None);
    let service = service(Platform::DigitalOcean, address);
    assert_eq!(service.user_data().expect("answers"), Some(b"{\"ignition\":{}}".to_vec()));
    let metadata = service.metadata().expect("answers");
    assert_eq!((metadata.instance.as_str(), metadata.hostname.as_str()), ("2756294", "sample"));
    assert_eq!(metadata.ssh_keys, ["ssh-rsa AAAA me"]);
    assert_eq!(metadata.public_ipv4.map(|ip| ip.to_string()).as_deref(), Some("104.131.20.105"));
    assert_eq!(metadata.private_ipv4.map(|ip| ip.to_string()).as_deref(), Some("10.132.255.113"));
}

#[test]
fn an_instance_shows_its_token_with_every_question() {
    let answers = [
        ("PUT /latest/api/token", "SESSION"),
        ("GET /latest/user-data", "{}"),
        ("GET /latest/meta-data/instance-id", "i-0123"),
        ("GET /latest/meta-data/hostname", "ip-10-0-0-5.ec2.internal"),
        ("GET /latest/meta-data/public-keys/", "0=mine"),
        ("GET /latest/meta-data/public-keys/0/openssh-key", "ssh-ed25519 AAAA mine\n"),
        ("GET /latest/meta-data/local-ipv4", "10.0.0.5"),
    ];
    let (address, heard) = fake(&answers, 0, Some("X-aws-ec2-metadata-token: SESSION"));
    let service = service(Platform::Ec2, address);
    assert_eq!(service.user_data().expect("answers"), Some(b"{}".to_vec()));
    let metadata = service.metadata().expect("answers");
    assert_eq!(metadata.instance, "i-0123");
    assert_eq!(metadata.ssh_keys, ["ssh-ed25519 AAAA mine"]);
    assert_eq!((metadata.private_ipv4.is_some(), metadata.public_ipv4), (true, None), "none is fine");
    let heard = heard.lock().expect("no panic");
    let gets = heard.iter().filter(|head| head.starts_with("GET"));
    assert!(gets.clone().count() > 5 && gets.clone().all(|head| head.contains("SESSION")));
}

#[test]
fn an_old_instance_has_no_tokens_and_a_droplet_may_have_no_user_data() {
    let (address, _) = fake(&[("GET /latest/user-data", "old")], 0, None);
    assert_eq!(service(Platform::Ec2, address).user_data().expect("answers"), Some(b"old".to_vec()));
    let (address, _) = fake(&[], 0, None);
    assert_eq!(service(Platform::DigitalOcean, address).user_data().expect("answers"), None);
}

#[test]
fn a_silent_service_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let began = Instant::now();
    let service = Service::new(Platform::Ec2, Duration::from_secs(1)).at(address);
    let error = service.user_data().expect_err("nobody answers");
    assert!(matches!(error, MetadataError::Silent { platform: "aws", .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
}
