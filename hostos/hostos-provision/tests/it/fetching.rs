//! Content from servers: retries, redirects, time-outs, trust, proxies, TFTP.

use std::time::{Duration, Instant};

use hostos_config::{Config, File, HttpHeader, Resource, Verification};
use hostos_provision::{ApplyError, Root, apply, load};

use crate::server::{Reply, Server, reply, tftp};

/// `hi`, compressed with gzip.
const HI: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\xc8\x04\x00\xac*\x93\xd8\x02\x00\x00\x00";
const HI_SHA256: &str = "sha256-8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4";

/// Fetches a resource by way of a file of a config.
fn fetch(resource: Resource, change: impl FnOnce(&mut Config)) -> Result<Vec<u8>, String> {
    let mut config = Config::default();
    config.storage.files.push(File { path: "/fetched".into(), contents: resource, ..File::default() });
    config.ignition.timeouts.http_total = Some(10);
    change(&mut config);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = Root::open(directory.path()).expect("it is there");
    match apply(&config, &root) {
        Ok(_) => Ok(std::fs::read(directory.path().join("fetched")).expect("it is written")),
        Err(error) => {
            let left = std::fs::read_dir(directory.path()).expect("it is there").count();
            assert_eq!(left, 0, "something was written before all was fetched");
            Err(chain(&error))
        }
    }
}

fn chain(error: &ApplyError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    let mut half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n".to_vec();
    half.extend_from_slice(HI);
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let chunks =
        HI.chunks(7).flat_map(|part| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
    let chunked = chunked.into_iter().chain(chunks).chain(*b"0\r\n\r\n").collect();
    let server = Server::start(vec![
        reply("503 Service Unavailable", "", b"busy"),
        Reply::Bytes(Vec::new()),
        Reply::Bytes(half),
        Reply::Bytes(chunked),
    ]);
    let resource = Resource {
        compression: Some("gzip".into()),
        verification: Verification { hash: Some(HI_SHA256.into()) },
        ..Resource::url(server.url("/a"))
    };
    assert_eq!(fetch(resource, |_| {}).as_deref(), Ok(&b"hi"[..]));
    assert_eq!(server.heads().len(), 4);
}

#[test]
fn a_final_answer_is_final_and_said() {
    let server = Server::start(vec![reply("404 Not Found", "", b"")]);
    let error = fetch(Resource::url(server.url("/a")), |_| {}).expect_err("there is nothing");
    let url = server.url("/a");
    assert_eq!(
        error,
        format!(
            "cannot get the content of /fetched: cannot fetch {url}: the server answered 404 (not found)"
        )
    );
}

#[test]
fn headers_go_to_the_server_and_not_where_it_sends_us() {
    let second = Server::start(vec![reply("200 OK", "", b"there")]);
    let first = Server::start(vec![reply("302 Found", &format!("Location: {}\r\n", second.url("/b")), b"")]);
    let headers = vec![
        HttpHeader { name: "X-Secret".into(), value: Some("key".into()) },
        HttpHeader { name: "User-Agent".into(), value: Some("mine".into()) },
        HttpHeader { name: "X-Gone".into(), value: None },
    ];
    let resource = Resource { http_headers: headers, ..Resource::url(first.url("/a?b=c")) };
    assert_eq!(fetch(resource, |_| {}).as_deref(), Ok(&b"there"[..]));
    let head = first.heads().concat();
    assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("X-Secret: key\r\n") && head.contains("User-Agent: mine\r\n"), "{head}");
    assert!(!head.contains("X-Gone") && !head.contains("User-Agent: Ignition"), "{head}");
    let head = second.heads().concat();
    assert!(head.contains("User-Agent: Ignition/3.5.0") && !head.contains("X-Secret"), "{head}");
}

#[test]
fn a_silent_server_is_given_up_in_time() {
    let silence = || Reply::Silence(Duration::from_secs(20));
    let server = Server::start(vec![silence(), silence(), silence()]);
    let start = Instant::now();
    let error = fetch(Resource::url(server.url("/a")), |config| {
        config.ignition.timeouts.http_response_headers = Some(1);
        config.ignition.timeouts.http_total = Some(2);
    });
    let error = error.expect_err("it is silent");
    assert!(error.contains("gave up after") && error.contains("no answer in time"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn redirects_in_circles_end() {
    let replies = (0..12).map(|_| reply("302 Found", "Location: /again\r\n", b"")).collect();
    let server = Server::start(replies);
    let error = fetch(Resource::url(server.url("/a")), |_| {}).expect_err("it goes in circles");
    assert!(error.ends_with("the server redirects without end or to nowhere"), "{error}");
}

#[test]
fn a_wrong_hash_says_what_came() {
    let server = Server::start(vec![reply("200 OK", "", b"ho")]);
    let resource = Resource {
        verification: Verification { hash: Some(HI_SHA256.into()) },
        ..Resource::url(server.url("/a"))
    };
    let error = fetch(resource, |_| {}).expect_err("it is another");
    assert!(
        error.contains("the content has the hash sha256-") && error.ends_with(&format!("not {HI_SHA256}")),
        "{error}"
    );
}

#[test]
fn a_server_is_trusted_by_the_authority_of_the_config_only() {
    let (server, authority) = Server::start_tls(vec![reply("200 OK", "", b"safe")]);
    let url = format!("https://{}/a", server.address);
    let got = fetch(Resource::url(&url), |config| {
        config.ignition.security.tls.certificate_authorities.push(Resource::inline(&authority));
    });
    assert_eq!(got.as_deref(), Ok(&b"safe"[..]));

    let (server, _) = Server::start_tls((0..9).map(|_| reply("200 OK", "", b"unsafe")).collect());
    let error =
        fetch(Resource::url(format!("https://{}/a", server.address)), |_| {}).expect_err("nobody knows it");
    assert!(error.contains("the server's certificate is not accepted"), "{error}");
    assert!(server.heads().is_empty(), "it was asked all the same");
}

#[test]
fn an_authority_that_is_none_is_refused() {
    let error = fetch(Resource::default(), |config| {
        config.ignition.security.tls.certificate_authorities.push(Resource::inline("no pem"));
    });
    assert!(error.expect_err("it is none").ends_with("it holds no certificate"));
}

#[test]
fn proxies_are_used_as_the_config_says() {
    let proxy = Server::start(vec![reply("200 OK", "", b"by proxy")]);
    let got = fetch(Resource::url("http://example.test/a"), |config| {
        config.ignition.proxy.http_proxy = Some(format!("http://me:secret@{}", proxy.address));
    });
    assert_eq!(got.as_deref(), Ok(&b"by proxy"[..]));
    let head = proxy.heads().concat();
    assert!(head.starts_with("GET http://example.test/a HTTP/1.1\r\nHost: example.test\r\n"), "{head}");
    assert!(head.contains("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n"), "{head}");

    let refusing = Server::start(vec![reply("403 Forbidden", "", b"")]);
    let error = fetch(Resource::url("https://example.test/a"), |config| {
        config.ignition.proxy.https_proxy = Some(format!("http://{}", refusing.address));
    });
    assert!(error.expect_err("it refuses").contains("answered 403"));
    assert!(refusing.heads().concat().starts_with("CONNECT example.test:443 HTTP/1.1\r\n"));
}

#[test]
fn tftp_survives_a_lost_packet() {
    let content: Vec<u8> = (0..5_000_u32).map(|index| (index % 251) as u8).collect();
    let server = tftp(content.clone());
    let got = fetch(Resource::url(format!("tftp://{server}/boot/my%20file")), |_| {});
    assert_eq!(got, Ok(content));
}

#[test]
fn a_config_is_merged_from_a_server() {
    let child = r#"{"ignition":{"version":"3.0.0"},"storage":{"files":[{"path":"/b","contents":{"source":"data:,b"}}]}}"#;
    let server = Server::start(vec![reply("200 OK", "", child.as_bytes())]);
    let mut config = Config::default();
    config.ignition.config.merge.push(Resource::url(server.url("/config")));
    let loaded = load(config.to_json().as_bytes(), "parent").expect("it loads");
    assert_eq!(loaded.config.storage.files.len(), 1);
    let head = server.heads().concat();
    assert!(
        head.contains("Accept: application/vnd.coreos.ignition+json;version=3.5.0, */*;q=0.1\r\n"),
        "{head}"
    );
}
