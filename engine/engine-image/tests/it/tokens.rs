//! A registry that wants bearer tokens, and the authorization server that hands them out.
//!
//! The registry is Debian's; the server is a few lines here. Its key is made for each test, and its tokens are
//! JSON Web Tokens signed with RS256 by openssl.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use engine_image::registry::Auth;
use serde_json::{Value, json};

use crate::{Daemon, Place, image, place, registry, two_layers};

const REFRESH: &str = "a-token-instead-of-a-password";

/// What one request to the server asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    method: String,
    user: String,
    scopes: Vec<String>,
    offline: bool,
}

struct Tokens {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    certificate: PathBuf,
}

impl Tokens {
    /// Serves until the test's process ends.
    fn serve(place: &Path) -> Option<Tokens> {
        let (key, certificate) = (place.join("key.pem"), place.join("cert.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tokens"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(Stdio::null())
            .status();
        if !made.is_ok_and(|status| status.success()) {
            must_run::skip("needs openssl");
            return None;
        }
        let listener = TcpListener::bind("127.0.0.1:0").ok()?;
        let port = listener.local_addr().ok()?.port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, chain) = (asked.clone(), certificate.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that leaves in the middle is no failure of the server's.
                let _ = answer(stream, &key, &chain, &log);
            }
        });
        Some(Tokens { port, asked, certificate })
    }

    /// A registry that trusts this server.
    fn registry(&self, place: &Path) -> Option<Daemon> {
        let auth = format!(
            "auth:\n  token:\n    realm: http://127.0.0.1:{}/token\n    service: the-registry\n    issuer: the-issuer\n    rootcertbundle: {}\n",
            self.port,
            self.certificate.display()
        );
        registry(place, &auth)
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().expect("not poisoned"))
    }
}

fn answer(
    mut stream: TcpStream,
    key: &Path,
    certificate: &Path,
    log: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let (mut user, mut length) = (String::new(), 0);
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        let (name, value) = header.trim().split_once(": ").unwrap_or_default();
        if name.eq_ignore_ascii_case("authorization") {
            let decoded = STANDARD.decode(value.trim_start_matches("Basic ")).unwrap_or_default();
            user = String::from_utf8_lossy(&decoded).into_owned();
        } else if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().unwrap_or(0);
        }
        header.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = line.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let form = if method == "POST" {
        String::from_utf8_lossy(&body).into_owned()
    } else {
        target.split_once('?').map_or_else(String::new, |(_, query)| query.to_owned())
    };
    let pairs: Vec<(String, String)> =
        form.split('&').filter_map(|p| p.split_once('=')).map(|(k, v)| (k.to_owned(), decode(v))).collect();
    let all = |name: &str| -> Vec<String> {
        pairs.iter().filter(|(k, _)| k == name).flat_map(|(_, v)| v.split(' ')).map(str::to_owned).collect()
    };
    let refreshed = all("refresh_token") == [REFRESH];
    let asked = Asked {
        method,
        user: user.split(':').next().unwrap_or_default().to_owned(),
        scopes: all("scope"),
        offline: all("offline_token") == ["true"],
    };
    log.lock().expect("not poisoned").push(asked.clone());
    let known = user == "user:secret" || refreshed;
    if !known && !user.is_empty() || all("service") != ["the-registry"] {
        let refusal = r#"{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}"#;
        return reply(&mut stream, "401 Unauthorized", refusal);
    }
    let mut said = json!({ "token": token(&asked.scopes, known, key, certificate), "expires_in": 60 });
    if asked.offline {
        said["refresh_token"] = REFRESH.into();
    }
    reply(&mut stream, "200 OK", &said.to_string())
}

fn reply(stream: &mut TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())
}

/// Undoes percent-encoding.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What was asked for, to those who are known; others may pull what is below `open/`.
fn token(scopes: &[String], known: bool, key: &Path, certificate: &Path) -> String {
    let access: Vec<Value> = scopes
        .iter()
        .filter_map(|scope| scope.strip_prefix("repository:")?.rsplit_once(':'))
        .filter(|(name, actions)| known || name.starts_with("open/") && *actions == "pull")
        .map(|(name, actions)| {
            json!({ "type": "repository", "name": name, "actions": actions.split(',').collect::<Vec<_>>() })
        })
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let pem = fs::read_to_string(certificate).expect("there");
    let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let head = json!({ "typ": "JWT", "alg": "RS256", "x5c": [der] });
    let claims = json!({
        "iss": "the-issuer", "sub": "", "aud": "the-registry", "jti": "1",
        "exp": now + 60, "nbf": now - 60, "iat": now, "access": access,
    });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&head), encode(&claims));
    let signature = sign(signed.as_bytes(), key);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn sign(text: &[u8], key: &Path) -> Vec<u8> {
    let mut signer = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl made the key");
    signer.stdin.take().expect("piped").write_all(text).expect("read by openssl");
    signer.wait_with_output().expect("ends").stdout
}

fn set_up() -> Option<(Place, Tokens, Daemon)> {
    let place = place()?;
    let tokens = Tokens::serve(place.folder.path())?;
    let daemon = tokens.registry(place.folder.path())?;
    Some((place, tokens, daemon))
}

fn good() -> Auth {
    Auth { username: "user".into(), password: "secret".into(), ..Auth::default() }
}

#[test]
fn pushes_and_pulls_get_tokens_for_what_they_do() {
    let Some((place, tokens, daemon)) = set_up() else { return };
    let name = format!("127.0.0.1:{}/team/app:1", daemon.port);
    let store = place.store("one");
    let made = image(&store, &two_layers(), &name);
    place.push(&store, &name, &good()).expect("pushed");
    let asked = tokens.asked();
    assert!(!asked.is_empty());
    for one in &asked {
        assert_eq!((one.user.as_str(), one.offline), ("user", false), "{asked:?}");
        assert_eq!(one.scopes, ["repository:team/app:pull,push"], "{asked:?}");
    }
    let two = place.store("two");
    assert_eq!(place.pull(&two, &name, &good()), Ok(made.id));
    let asked = tokens.asked();
    assert_eq!(asked.len(), 1, "one token is enough for a pull: {asked:?}");
    assert_eq!(asked[0].scopes, ["repository:team/app:pull"]);

    // A layer is mounted from a repository that the token may be used for as well.
    let other = format!("127.0.0.1:{}/team/other:1", daemon.port);
    store.tag(&made.id, &engine_image::Reference::parse(&other).expect("fine")).expect("tagged");
    place.told();
    place.push(&store, &other, &good()).expect("pushed");
    let told = place.told();
    assert_eq!(told.iter().filter(|l| l.contains("Mounted from team/app")).count(), 2, "{told:?}");
    let scopes = tokens.asked().into_iter().flat_map(|a| a.scopes).collect::<Vec<_>>();
    assert!(scopes.contains(&"repository:team/app:pull".to_owned()), "{scopes:?}");
}

#[test]
fn what_may_not_be_had_is_refused() {
    let Some((place, tokens, daemon)) = set_up() else { return };
    let (open, closed) =
        (format!("127.0.0.1:{}/open/app:1", daemon.port), format!("127.0.0.1:{}/app:1", daemon.port));
    let store = place.store("one");
    for name in [&open, &closed] {
        image(&store, &two_layers(), name);
        place.push(&store, name, &good()).expect("pushed");
    }
    let anonymous = Auth::default();
    place.pull(&place.store("two"), &open, &anonymous).expect("open to everybody");
    assert!(tokens.asked().last().expect("asked").user.is_empty());
    let refused = place.pull(&place.store("three"), &closed, &anonymous).expect_err("closed");
    let shown = format!("127.0.0.1:{}/app", daemon.port);
    assert!(refused.starts_with(&format!("pull access denied for {shown}, ")), "{refused}");
    assert!(place.push(&store, &open, &anonymous).is_err(), "open means to pull");
    let bad = Auth { password: "wrong".into(), ..good() };
    let refused = place.push(&store, &closed, &bad).expect_err("a wrong password");
    assert!(refused.contains("unauthorized: incorrect username or password"), "{refused}");
}

#[test]
fn a_login_gives_a_token_instead_of_the_password() {
    let Some((place, tokens, daemon)) = set_up() else { return };
    let server_address = format!("127.0.0.1:{}", daemon.port);
    let login = |auth: Auth| place.runtime.block_on(place.client.login(&auth));
    let found = login(Auth { server_address: server_address.clone(), ..good() }).expect("good");
    assert_eq!((found.status.as_str(), found.identity_token.as_str()), ("Login Succeeded", REFRESH));
    assert!(tokens.asked().iter().all(|asked| asked.offline));
    let wrong = Auth { password: "wrong".into(), server_address, ..good() };
    assert!(login(wrong).expect_err("wrong").report().contains("incorrect username or password"));
    tokens.asked();

    let name = format!("127.0.0.1:{}/team/app:1", daemon.port);
    let store = place.store("one");
    image(&store, &two_layers(), &name);
    let kept = Auth { identity_token: found.identity_token, ..Auth::default() };
    place.push(&store, &name, &kept).expect("pushed");
    assert!(tokens.asked().iter().all(|asked| asked.method == "POST"));
    let old = Auth { identity_token: "long ago".into(), ..Auth::default() };
    assert!(place.push(&store, &name, &old).is_err());
}
