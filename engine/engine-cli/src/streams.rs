//! Streams: logs, progress of pulls and loads, and a container's input and output.

use std::io::{self, BufRead, Read, Write};
use std::net::Shutdown;

use serde_json::Value;

use crate::auth;
use crate::flags::Options;
use crate::http::{Answer, Body, Client, Failure, escape};
use crate::words::moment;

/// Takes frames apart: stdout to stdout, stderr to stderr.
#[derive(Default)]
struct Demux(Vec<u8>);

impl Demux {
    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(piece);
        while self.0.len() >= 8 {
            let size = u32::from_be_bytes([self.0[4], self.0[5], self.0[6], self.0[7]]) as usize;
            if self.0.len() < 8 + size {
                break;
            }
            let frame: Vec<u8> = self.0.drain(..8 + size).collect();
            match frame[0] {
                2 | 3 => io::stderr().write_all(&frame[8..])?,
                _ => quiet_stdout::write(&frame[8..]),
            }
        }
        Ok(())
    }
}

pub(crate) fn logs(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let name = escape(&options.arg(0));
    let tty = client.json("GET", &format!("/containers/{name}/json"), Body::None)?["Config"]["Tty"] == true;
    let mut path = format!(
        "/containers/{name}/logs?stdout=1&stderr=1&follow={}&timestamps={}&details={}",
        options.is_set("follow")?,
        options.is_set("timestamps")?,
        options.is_set("details")?
    );
    let tail = options.text("tail");
    path.push_str(&format!("&tail={}", if tail.is_empty() { "all".into() } else { escape(&tail) }));
    for name in ["since", "until"] {
        let at = moment(&options.text(name))
            .map_err(|problem| Failure::Usage(format!("invalid value for \"{name}\": {problem}")))?;
        if !at.is_empty() {
            path.push_str(&format!("&{name}={at}"));
        }
    }
    let mut answer = client.send("GET", &path, Body::None)?;
    let mut demux = Demux::default();
    answer.each(&mut |piece| {
        if tty {
            quiet_stdout::write(piece);
            return Ok(());
        }
        demux.take(piece)
    })?;
    Ok(0)
}

/// Where progress is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Out,
    Err,
    Nowhere,
}

impl Shown {
    fn print(self, text: &str) -> io::Result<()> {
        match self {
            Shown::Out => {
                quiet_stdout::write(text.as_bytes());
                Ok(())
            }
            Shown::Err => io::stderr().write_all(text.as_bytes()),
            Shown::Nowhere => Ok(()),
        }
    }
}

/// Prints a stream of JSON messages as lines.
pub(crate) fn progress(mut answer: Answer, shown: Shown) -> Result<(), Failure> {
    let mut rest = Vec::new();
    let mut failed = None;
    answer.each(&mut |piece| {
        rest.extend_from_slice(piece);
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let message: Value = serde_json::from_slice(&line).unwrap_or_default();
            if let Some(error) = message["error"].as_str() {
                let code = message["errorDetail"]["code"].as_u64().and_then(|c| u8::try_from(c).ok());
                failed = Some((error.to_owned(), code.filter(|c| *c != 0).unwrap_or(1)));
            } else if let Some(text) = message["stream"].as_str() {
                shown.print(text)?;
            } else if let Some(status) = message["status"]
                .as_str()
                .filter(|_| message["progressDetail"].as_object().is_none_or(|d| d.is_empty()))
            {
                let id = message["id"].as_str().map(|id| format!("{id}: ")).unwrap_or_default();
                shown.print(&format!("{id}{status}\n"))?;
            }
        }
        Ok(())
    })?;
    match failed {
        Some((text, code)) => Err(Failure::Ended { text, code }),
        None => Ok(()),
    }
}

/// A name's repository and its tag or digest; `latest` where neither is given.
pub(crate) fn repository(name: &str) -> (&str, &str) {
    if let Some((repository, digest)) = name.split_once('@') {
        return (repository, digest);
    }
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    }
}

/// Whether a name can be an image's, in the client's own words.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    let host = name.split_once('/').filter(|(host, _)| {
        host.contains(['.', ':']) || *host == "localhost" || host.to_lowercase() != **host
    });
    let path = repository(host.map_or(name, |(_, path)| path)).0;
    if path.to_lowercase() != path {
        let path =
            if host.is_none() && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
        let text = format!("invalid reference format: repository name ({path}) must be lowercase");
        return Err(Failure::Usage(text));
    }
    let is_part = |part: &str| {
        let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(is_end)
            && part.ends_with(is_end)
            && part.chars().all(|c| is_end(c) || "._-".contains(c))
    };
    match path.split('/').all(is_part) {
        true => Ok(()),
        false => Err(Failure::Usage("invalid reference format".into())),
    }
}

/// With its tag.
pub(crate) fn tagged(name: &str) -> String {
    match repository(name) {
        (repository, tag) if !name.contains('@') => format!("{repository}:{tag}"),
        _ => name.to_owned(),
    }
}

/// Pulls an image; its progress goes to stderr when something else is to be printed on stdout.
pub(crate) fn pull(client: &Client, name: &str, aside: bool) -> Result<(), Failure> {
    pull_shown(client, name, "", if aside { Shown::Err } else { Shown::Out })
}

pub(crate) fn pull_shown(client: &Client, name: &str, platform: &str, shown: Shown) -> Result<(), Failure> {
    check_name(name)?;
    let (repository, tag) = repository(name);
    let mut path = format!("/images/create?fromImage={}&tag={}", escape(repository), escape(tag));
    if !platform.is_empty() {
        path.push_str(&format!("&platform={}", escape(platform)));
    }
    let login = auth::header(name)?;
    progress(client.send_with("POST", &path, &login, Body::None)?, shown)
}

/// Carries bytes both ways until the other side has no more.
pub(crate) fn carry(answer: Answer, stdin: bool, tty: bool) -> Result<(), Failure> {
    let mut stream = answer.stream;
    let mut to = stream.get_ref().try_clone()?;
    if stdin {
        // Ends with the process, at the latest.
        std::thread::spawn(move || {
            let copied = copy_at_once(&mut io::stdin(), &mut to);
            copied.and_then(|()| to.shutdown(Shutdown::Write))
        });
    } else if !tty {
        to.shutdown(Shutdown::Write)?;
    }
    let mut demux = Demux::default();
    loop {
        let piece = stream.fill_buf()?;
        if piece.is_empty() {
            return Ok(());
        }
        if tty {
            quiet_stdout::write(piece);
        } else {
            demux.take(piece)?;
        }
        let n = piece.len();
        stream.consume(n);
    }
}

/// Each piece as soon as it is read: a person may have typed it.
fn copy_at_once(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => to.write_all(&buffer[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images() {
        assert_eq!(repository("h:5000/a"), ("h:5000/a", "latest"));
        assert_eq!(repository("h:5000/a:1"), ("h:5000/a", "1"));
        assert_eq!(repository("a@sha256:x"), ("a", "sha256:x"));
        let said = |name: &str| check_name(name).map_err(|failure| failure.to_string());
        for right in ["a", "a/b:1", "h:5000/a-b_c", "a@sha256:x"] {
            assert_eq!(said(right), Ok(()), "{right}");
        }
        let upper = "invalid reference format: repository name (library/BAD) must be lowercase";
        assert_eq!(said("BAD"), Err(upper.to_owned()));
        assert_eq!(said("-x"), Err("invalid reference format".to_owned()));
        assert_eq!((tagged("a").as_str(), tagged("a@sha256:x").as_str()), ("a:latest", "a@sha256:x"));
    }
}
