//! Plain HTTP: v2's keys and members, the JSON gateway, health. See `plain-v2.txt` for how lines are written.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    golden::{Block, command, judge, lines},
    process::{Member, Place, has, serves},
};

struct Session {
    place: Place,
    /// The index the script began at.
    base: Option<i64>,
    later: HashMap<String, JoinHandle<Answer>>,
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

impl Session {
    fn one(&mut self, line: &str) -> String {
        let mut words = line.splitn(3, ' ');
        let (verb, name, rest) =
            (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
        match verb {
            "sleep" => {
                sleep(Duration::from_secs_f64(name.parse().expect("seconds")));
                String::new()
            }
            "later" => {
                let (place, line) = (self.place.clone(), self.absolute(rest));
                self.later.insert(name.to_owned(), spawn(move || ask(&place, &line)));
                sleep(Duration::from_millis(400));
                String::new()
            }
            "join" => {
                let answer = self.later.remove(name).expect("asked before").join().expect("no panic");
                self.show(&answer)
            }
            _ => {
                let answer = ask(&self.place, &self.absolute(line));
                self.show(&answer)
            }
        }
    }

    /// `Index=+N` is counted from where the script began.
    fn absolute(&self, line: &str) -> String {
        let mut parts = line.split("Index=+");
        let mut out = parts.next().unwrap_or("").to_owned();
        for part in parts {
            let digits = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
            let number: i64 = part[..digits].parse().expect("a number");
            out.push_str(&format!("Index={}{}", number + self.base.unwrap_or(0), &part[digits..]));
        }
        out
    }

    fn show(&mut self, answer: &Answer) -> String {
        let index = answer.header("x-etcd-index").and_then(|index| index.parse::<i64>().ok());
        let base = *self.base.get_or_insert(index.unwrap_or(0));
        let mut out = answer.status.to_string();
        for name in ["content-type", "allow", "location"] {
            if let Some(value) = answer.header(name) {
                out.push_str(&format!(" {name}={value}"));
            }
        }
        if let Some(index) = index {
            out.push_str(&format!(" index={}", relative(index, base)));
        }
        for name in ["x-etcd-cluster-id", "x-raft-index", "x-raft-term"] {
            if answer.header(name).is_some() {
                out.push_str(&format!(" {name}"));
            }
        }
        for line in answer.body.lines() {
            let shown = match serde_json::from_str::<Value>(line) {
                Ok(value) => steady(value, base).to_string(),
                Err(_) => line.to_owned(),
            };
            out.push_str(&format!("\n{shown}"));
        }
        let client = self.place.client.trim_start_matches("http://");
        out.replace(client, "CLIENT").replace(&self.place.peer, "PEER")
    }
}

fn relative(index: i64, base: i64) -> String {
    if index == 0 { "none".to_owned() } else { format!("+{}", index - base) }
}

/// JSON without what differs between two clusters, fields in order.
fn steady(value: Value, base: i64) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields
                .into_iter()
                .map(|(name, value)| {
                    let value = field(&name, value, base);
                    (name, value)
                })
                .collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| steady(item, base)).collect()),
        value => value,
    }
}

fn field(name: &str, value: Value, base: i64) -> Value {
    match (name, &value) {
        ("modifiedIndex" | "createdIndex" | "index", Value::Number(index)) => {
            relative(index.as_i64().unwrap_or(0), base).into()
        }
        ("expiration" | "startTime" | "uptime", _) => "TIME".into(),
        // etcd counts more than what it was asked.
        (name, Value::Number(_)) if name.ends_with("Success") || name.ends_with("Fail") => "COUNT".into(),
        ("expireCount", _) => "COUNT".into(),
        (
            "cluster_id" | "member_id" | "raft_term" | "ID" | "memberID" | "id" | "leader",
            Value::String(_),
        ) => "ID".into(),
        ("key", Value::String(key)) if key.rsplit('/').next().is_some_and(|last| last.len() == 20) => {
            let (dir, last) = key.rsplit_once('/').unwrap_or(("", key));
            match last.parse::<i64>() {
                Ok(index) => format!("{dir}/{}", relative(index, base)).into(),
                Err(_) => value,
            }
        }
        // Values and indices are compared; the latter differ.
        ("cause", Value::String(cause)) if cause.contains(" != ") => cause.matches(" != ").count().into(),
        _ => steady(value, base),
    }
}

/// One request on a connection of its own, read to its end or until a stream falls silent.
fn ask(place: &Place, line: &str) -> Answer {
    let mut words = line.splitn(3, ' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or("/"));
    let body = words.next().unwrap_or("");
    let kind = if body.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" };
    let host = place.client.trim_start_matches("http://");
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    if !body.is_empty() {
        request.push_str(&format!("Content-Type: {kind}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    let mut stream = TcpStream::connect(host).expect("it listens");
    stream.write_all(request.as_bytes()).expect("sent");
    let endless = path.contains("stream=true") || path.contains("/watch");
    let quiet = Duration::from_millis(if endless { 1500 } else { 12_000 });
    stream.set_read_timeout(Some(quiet)).expect("a socket");
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(read) => all.extend_from_slice(&piece[..read]),
        }
    }
    parse(&String::from_utf8_lossy(&all))
}

fn parse(text: &str) -> Answer {
    let (head, mut body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let mut whole = String::new();
    if chunked {
        while let Some((size, rest)) = body.split_once("\r\n") {
            let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
            let Some(piece) = rest.get(..size).filter(|_| size > 0) else { break };
            whole.push_str(piece);
            body = rest.get(size + 2..).unwrap_or("");
        }
    } else {
        whole.push_str(body);
    }
    Answer { status: status.unwrap_or(0), headers, body: whole }
}

fn run_all(program: &str, script: &str) -> Vec<Block> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let place = Place::new("one", dir.path());
    let founding = format!("one={}", place.peer);
    let member = Member::start(program, &place, &["--initial-cluster", &founding, "--enable-v2=true"]);
    serves(&member.client);
    let mut session = Session { place, base: None, later: HashMap::new() };
    lines(script).map(|line| Block { line: line.to_owned(), answer: session.one(command(line)) }).collect()
}

#[test]
fn clients_of_v2_see_no_difference() {
    if has("etcdctl") {
        judge("plain-v2-answers.txt", "etcd", 150, |program| run_all(program, include_str!("plain-v2.txt")));
    }
}

#[test]
fn clients_of_the_gateway_see_no_difference() {
    if has("etcdctl") {
        judge("plain-v3-answers.txt", "etcd-3.5", 50, |program| {
            run_all(program, include_str!("plain-v3.txt"))
        });
    }
}
