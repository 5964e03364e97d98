//! Streams: logs, progress of pulls and loads, and a container's input and output.

use std::io::{self, BufRead, Read, Write};
use std::net::Shutdown;

use clap::ArgMatches;
use serde_json::Value;

use crate::http::{Answer, Body, Client, Failure, escape};

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
                _ => print(&frame[8..])?,
            }
        }
        Ok(())
    }
}

fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

pub(crate) fn logs(client: &Client, options: &ArgMatches) -> Result<(), Failure> {
    let name = escape(options.get_one::<String>("name").expect("required"));
    let tty = client.json("GET", &format!("/containers/{name}/json"), Body::None)?["Config"]["Tty"] == true;
    let (follow, times) = (options.get_flag("follow"), options.get_flag("timestamps"));
    let tail = escape(options.get_one::<String>("tail").map_or("all", String::as_str));
    let path =
        format!("/containers/{name}/logs?stdout=1&stderr=1&follow={follow}&timestamps={times}&tail={tail}");
    let mut answer = client.send("GET", &path, Body::None)?;
    let mut demux = Demux::default();
    Ok(answer.each(&mut |piece| if tty { print(piece) } else { demux.take(piece) })?)
}

/// Prints a stream of JSON messages as lines.
pub(crate) fn progress(mut answer: Answer) -> Result<(), Failure> {
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
                print(text.as_bytes())?;
            } else if let Some(status) =
                message["status"].as_str().filter(|_| message.get("progress").is_none())
            {
                let id = message["id"].as_str().map(|id| format!("{id}: ")).unwrap_or_default();
                print(format!("{id}{status}\n").as_bytes())?;
            }
        }
        Ok(())
    })?;
    match failed {
        Some((text, code)) => Err(Failure::Ended { text, code }),
        None => Ok(()),
    }
}

pub(crate) fn pull(client: &Client, name: &str) -> Result<(), Failure> {
    let (repo, tag) = match name.rsplit_once(':') {
        Some((repo, tag)) if !tag.contains('/') && !name.contains('@') => (repo, tag),
        _ => (name, if name.contains('@') { "" } else { "latest" }),
    };
    if tag == "latest" && !name.ends_with(":latest") {
        println!("Using default tag: latest");
    }
    let path = format!("/images/create?fromImage={}&tag={}", escape(repo), escape(tag));
    progress(client.send("POST", &path, Body::None)?)
}

pub(crate) fn load(client: &Client, input: Option<&str>) -> Result<(), Failure> {
    let mut source: Box<dyn Read> = match input {
        Some(path) => {
            Box::new(std::fs::File::open(path).map_err(|e| Failure::Usage(format!("open {path}: {e}")))?)
        }
        None => Box::new(io::stdin()),
    };
    progress(client.send("POST", "/images/load?quiet=1", Body::Stream(&mut *source))?)
}

/// Carries bytes both ways until the other side has no more.
pub(crate) fn carry(answer: Answer, stdin: bool, tty: bool) -> Result<(), Failure> {
    let mut stream = answer.stream;
    let mut to = stream.get_ref().try_clone()?;
    if stdin {
        // Ends with the process, at the latest.
        std::thread::spawn(move || {
            let copied = io::copy(&mut io::stdin(), &mut to);
            copied.and_then(|_| to.shutdown(Shutdown::Write))
        });
    } else {
        to.shutdown(Shutdown::Write)?;
    }
    let mut demux = Demux::default();
    loop {
        let piece = stream.fill_buf()?;
        if piece.is_empty() {
            return Ok(());
        }
        if tty {
            print(piece)?
        } else {
            demux.take(piece)?
        }
        let n = piece.len();
        stream.consume(n);
    }
}
