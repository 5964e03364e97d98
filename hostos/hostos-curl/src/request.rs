//! What a transfer sends: method, headers and body, made once and sent as often as it takes.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use url::Url;

use crate::error::CurlError;
use crate::options::{Data, DataKind, Options};

/// What a transfer sends.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Whether the user chose the method, which a redirect then does not change.
    pub(crate) chosen: bool,
    pub(crate) headers: Vec<(String, String)>,
    /// Headers that must not be there.
    pub(crate) without: Vec<String>,
    pub(crate) body: Option<Body>,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Bytes(Bytes),
    /// Read as it is sent.
    File(PathBuf),
}

impl Request {
    /// The request for what the options say, and the URL with what belongs there.
    pub(crate) fn new(options: &Options, url: &mut Url) -> Result<Self, CurlError> {
        let wanted = &options.request;
        let mut request = Self {
            method: "GET".to_owned(),
            chosen: wanted.method.is_some(),
            headers: Vec::new(),
            without: Vec::new(),
            body: None,
        };
        if !options.data.is_empty() {
            let data = join(&options.data)?;
            if wanted.get || wanted.head {
                add_query(url, &String::from_utf8_lossy(&data));
            } else {
                let json = options.data.iter().any(|data| data.kind == DataKind::Json);
                let kind = if json { "application/json" } else { "application/x-www-form-urlencoded" };
                request.set("Content-Type", kind);
                if json {
                    request.set("Accept", "application/json");
                }
                request.method = "POST".to_owned();
                request.body = Some(Body::Bytes(data.into()));
            }
        }
        if let Some(file) = &wanted.upload_file {
            request.method = "PUT".to_owned();
            request.body = Some(upload(file, url)?);
        }
        if wanted.head {
            request.method = "HEAD".to_owned();
        }
        if let Some(method) = &wanted.method {
            request.method.clone_from(method);
        }
        request.add_headers(options, url)?;
        Ok(request)
    }

    fn add_headers(&mut self, options: &Options, url: &mut Url) -> Result<(), CurlError> {
        let wanted = &options.request;
        let agent = concat!("curl/", env!("CARGO_PKG_VERSION"), " (rmachine)");
        self.set("User-Agent", wanted.user_agent.as_deref().unwrap_or(agent));
        if !self.has("Accept") {
            self.set("Accept", "*/*");
        }
        let optional = [("Referer", &wanted.referer), ("Cookie", &wanted.cookie)];
        for (name, value) in optional {
            if let Some(value) = value {
                self.set(name, value);
            }
        }
        if let Some(token) = &wanted.oauth2_bearer {
            self.set("Authorization", &format!("Bearer {token}"));
        }
        if let Some(user) = wanted.user.clone().or_else(|| user_of(url)) {
            self.set("Authorization", &format!("Basic {}", STANDARD.encode(user)));
        }
        for line in &wanted.headers {
            match line.strip_prefix('@') {
                Some(file) => {
                    let text = fs::read_to_string(file)
                        .map_err(|source| CurlError::Read { path: file.into(), source })?;
                    text.lines().for_each(|line| self.add_line(line));
                }
                None => self.add_line(line),
            }
        }
        Ok(())
    }

    /// `Name: value`, `Name:` to leave it out, `Name;` to send it empty.
    fn add_line(&mut self, line: &str) {
        if let Some((name, value)) = line.split_once(':') {
            let (name, value) = (name.trim(), value.trim());
            self.headers.retain(|(other, _)| {
                // Several of the user's own may have one name.
                !other.eq_ignore_ascii_case(name) || !is_default(other)
            });
            if value.is_empty() {
                self.without.push(name.to_owned());
                self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            } else {
                self.headers.push((name.to_owned(), value.to_owned()));
            }
        } else if let Some(name) = line.trim().strip_suffix(';') {
            self.headers.push((name.to_owned(), String::new()));
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }

    /// What a redirect of this kind makes of it; `elsewhere` says that it leads to another host.
    pub(crate) fn redirect(&mut self, status: u16, elsewhere: bool) {
        let becomes_get = match status {
            303 => self.method != "HEAD",
            301 | 302 => self.method == "POST",
            _ => false,
        };
        if becomes_get {
            if !self.chosen {
                self.method = "GET".to_owned();
            }
            self.body = None;
            self.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        }
        if elsewhere {
            self.headers.retain(|(name, _)| {
                !name.eq_ignore_ascii_case("authorization") && !name.eq_ignore_ascii_case("cookie")
            });
        }
    }
}

/// Headers that are sent without being asked for, and give way to the user's.
fn is_default(name: &str) -> bool {
    ["user-agent", "accept", "content-type", "authorization", "host"]
        .iter()
        .any(|default| name.eq_ignore_ascii_case(default))
}

fn user_of(url: &mut Url) -> Option<String> {
    if url.username().is_empty() {
        return None;
    }
    let plain = |text: &str| {
        let pairs = format!("x={}", text.replace('+', "%2B"));
        url::form_urlencoded::parse(pairs.as_bytes()).next().map(|(_, value)| value.into_owned())
    };
    let user = format!("{}:{}", plain(url.username())?, plain(url.password().unwrap_or_default())?);
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(user)
}

/// All pieces as one; forms are joined by `&`, JSON as it is.
fn join(pieces: &[Data]) -> Result<Vec<u8>, CurlError> {
    let mut all = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 && piece.kind != DataKind::Json {
            all.push(b'&');
        }
        all.extend(bytes_of(piece)?);
    }
    Ok(all)
}

fn bytes_of(piece: &Data) -> Result<Vec<u8>, CurlError> {
    let text = piece.text.as_str();
    match (piece.kind, text.strip_prefix('@')) {
        (DataKind::Ascii, Some(file)) => {
            let mut bytes = read(Path::new(file))?;
            bytes.retain(|byte| !b"\r\n\0".contains(byte));
            Ok(bytes)
        }
        (DataKind::Binary | DataKind::Json, Some(file)) => read(Path::new(file)),
        (DataKind::Escaped, _) => escaped(text),
        _ => Ok(text.as_bytes().to_vec()),
    }
}

fn escaped(text: &str) -> Result<Vec<u8>, CurlError> {
    let (name, content) = match text.find(['=', '@']) {
        Some(at) if text[at..].starts_with('=') => (&text[..at], text.as_bytes()[at + 1..].to_vec()),
        Some(at) => (&text[..at], read(Path::new(&text[at + 1..]))?),
        None => ("", text.as_bytes().to_vec()),
    };
    let mut all = if name.is_empty() { String::new() } else { format!("{name}=") };
    for byte in content {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            all.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(all.into_bytes())
}

fn read(path: &Path) -> Result<Vec<u8>, CurlError> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        fs::read(path)
    };
    bytes.map_err(|source| CurlError::Read { path: path.to_owned(), source })
}

/// A file to PUT; a URL that ends with a slash gets its name.
fn upload(file: &Path, url: &mut Url) -> Result<Body, CurlError> {
    if file == Path::new("-") {
        return Ok(Body::Bytes(read(file)?.into()));
    }
    fs::File::open(file).map_err(|source| CurlError::Read { path: file.to_owned(), source })?;
    if url.path().ends_with('/')
        && let Some(name) = file.file_name().and_then(|name| name.to_str())
    {
        let path = format!("{}{name}", url.path());
        url.set_path(&path);
    }
    Ok(Body::File(file.to_owned()))
}

fn add_query(url: &mut Url, data: &str) {
    let query = match url.query() {
        Some(query) if !query.is_empty() => format!("{query}&{data}"),
        _ => data.to_owned(),
    };
    url.set_query(Some(&query));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(args: &[&str]) -> (Request, Url) {
        let args = ["curl"].iter().chain(args).map(Into::into).collect();
        let options = Options::parse(args).expect("good options");
        let mut url = Url::parse(options.urls().next().expect("a URL")).expect("a URL");
        (Request::new(&options, &mut url).expect("a request"), url)
    }

    fn value<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
        let mut all = request.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        all.next().map(|(_, value)| value.as_str())
    }

    #[test]
    fn data_makes_it_a_form() {
        let (request, _) = request(&["-d", "a=1", "--data-urlencode", "b=x y&z", "http://a/"]);
        assert_eq!(request.method, "POST");
        assert_eq!(value(&request, "content-type"), Some("application/x-www-form-urlencoded"));
        assert!(matches!(&request.body, Some(Body::Bytes(body)) if &body[..] == b"a=1&b=x%20y%26z"));
    }

    #[test]
    fn get_moves_the_data_into_the_url() {
        let (request, url) = request(&["-G", "-d", "a=1", "-d", "b=2", "http://a/?c"]);
        assert_eq!((request.method.as_str(), url.as_str()), ("GET", "http://a/?c&a=1&b=2"));
        assert!(request.body.is_none());
    }

    #[test]
    fn headers_replace_leave_out_and_repeat() {
        let (request, url) = request(&[
            "-H",
            "Accept: text/plain",
            "-H",
            "User-Agent:",
            "-H",
            "X-A: 1",
            "-H",
            "X-A: 2",
            "http://me:a%40b@a/",
        ]);
        assert_eq!(value(&request, "accept"), Some("text/plain"));
        assert_eq!(value(&request, "user-agent"), None);
        assert_eq!(request.headers.iter().filter(|(name, _)| name == "X-A").count(), 2);
        assert_eq!(value(&request, "authorization"), Some("Basic bWU6YUBi"));
        assert_eq!(url.as_str(), "http://a/");
    }

    #[test]
    fn a_redirect_elsewhere_keeps_no_secret() {
        let (mut request, _) = request(&["-u", "a:b", "-d", "x", "http://a/"]);
        request.redirect(302, true);
        assert_eq!((request.method.as_str(), value(&request, "authorization")), ("GET", None));
        assert!(request.body.is_none());
    }

    #[test]
    fn a_chosen_method_stays_and_307_keeps_everything() {
        let (mut kept, _) = request(&["-X", "PUT", "-d", "x", "http://a/"]);
        kept.redirect(307, false);
        assert_eq!(kept.method, "PUT");
        assert!(kept.body.is_some());
    }
}
