//! `journal/UNIT` and `status/UNIT`: what the unit says, from whichever machine runs it.
//!
//! The machine that is asked answers itself when the unit is its own, else it asks the other over
//! mutual TLS and passes the stream on. No ssh.

use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use fleet_registry::Snapshot;
use fleet_unit::UnitName;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use hyper::body::{Frame, Incoming};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::mpsc;

use super::peer::{self, Question, streaming};
use super::reply::{Reply, error, with_body};
use super::{Api, query, store_error};

const MOST_LINES: u32 = 100_000;
/// A program that has closed its output is about to end.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

impl Api {
    pub(super) async fn journal(&self, name: &str, request: &Request<Incoming>) -> Reply {
        let lines = query(request, "lines").pop().unwrap_or_else(|| "10".to_owned());
        let Some(lines) = lines.parse::<u32>().ok().filter(|lines| *lines <= MOST_LINES) else {
            return error(
                StatusCode::BAD_REQUEST,
                &format!("lines `{lines}` is no number up to {MOST_LINES}"),
            );
        };
        let output = query(request, "output").pop().unwrap_or_else(|| "short".to_owned());
        if !output.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return error(StatusCode::BAD_REQUEST, &format!("output `{output}` is no output format"));
        }
        let mut words =
            vec!["--no-pager".to_owned(), "-o".to_owned(), output, "-n".to_owned(), lines.to_string()];
        if query(request, "follow").pop().is_some_and(|value| value != "0" && value != "false") {
            words.push("-f".to_owned());
        }
        self.output_of_its_machine(name, request, "journalctl", words, "-u").await
    }

    pub(super) async fn status(&self, name: &str, request: &Request<Incoming>) -> Reply {
        self.output_of_its_machine(
            name,
            request,
            "systemctl",
            vec!["--no-pager".into(), "-l".into(), "status".into()],
            "--",
        )
        .await
    }

    async fn output_of_its_machine(
        &self,
        name: &str,
        request: &Request<Incoming>,
        program: &str,
        mut words: Vec<String>,
        before_unit: &str,
    ) -> Reply {
        let Ok(unit) = super::percent_decoded(name).parse::<UnitName>() else {
            return error(StatusCode::NOT_FOUND, "unit does not exist");
        };
        let snapshot = match self.registry.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(failure) => return store_error(&failure),
        };
        let machine = match self.machine_to_ask(&snapshot, &unit, query(request, "machineID").pop()) {
            Ok(machine) => machine,
            Err(refused) => return *refused,
        };
        if machine == self.machine {
            words.extend([before_unit.to_owned(), unit.to_string()]);
            return stream_of(program, &words, takes_trailers(request));
        }
        if request.headers().contains_key(peer::PASSED_ON) {
            return error(
                StatusCode::CONFLICT,
                &format!("unit {unit} is not on this machine any more; try again"),
            );
        }
        self.pass_on(&snapshot, &machine, request).await
    }

    /// The machine that runs the unit; of a global unit this one, unless the client names another.
    fn machine_to_ask(
        &self,
        snapshot: &Snapshot,
        unit: &UnitName,
        named: Option<String>,
    ) -> Result<String, Box<Reply>> {
        if !snapshot.units.contains_key(unit) {
            return Err(Box::new(error(StatusCode::NOT_FOUND, "unit does not exist")));
        }
        let runs_on: Vec<&str> = snapshot
            .states
            .keys()
            .filter(|(name, _)| name == unit)
            .map(|(_, machine)| machine.as_str())
            .collect();
        let chosen = match named {
            Some(machine) => Some(machine),
            None => match snapshot.machine_of(unit) {
                Some(machine) => Some(machine.to_owned()),
                None if runs_on.contains(&self.machine.as_str()) => Some(self.machine.clone()),
                None => runs_on.first().map(|machine| (*machine).to_owned()),
            },
        };
        chosen.ok_or_else(|| {
            let message = format!("unit {unit} is on no machine; `fleetctl why {unit}` tells why");
            Box::new(error(StatusCode::CONFLICT, &message))
        })
    }

    async fn pass_on(&self, snapshot: &Snapshot, machine: &str, request: &Request<Incoming>) -> Reply {
        let Some(record) = snapshot.machines.get(machine) else {
            return error(StatusCode::SERVICE_UNAVAILABLE, &format!("machine {machine} is lost"));
        };
        let refused = |what: &str| error(StatusCode::BAD_GATEWAY, &format!("machine {machine}: {what}"));
        let Some(address) = record.api.strip_prefix("https://").filter(|it| !it.is_empty()) else {
            return refused("it serves no API to other machines; set listen and tls_* there");
        };
        let Some(identity) = self.identity() else {
            return refused("this machine has no TLS identity to ask it with; set tls_* here");
        };
        let trailers = takes_trailers(request);
        let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        match (Question { trailers, ..Question::get(address, path) }).ask(identity).await {
            Ok((status, body)) => said(status, body),
            Err(failure) => refused(&format!("{failure:#}")),
        }
    }
}

fn takes_trailers(request: &Request<Incoming>) -> bool {
    let te = request.headers().get_all(http::header::TE).iter();
    te.filter_map(|value| value.to_str().ok()).any(|value| value.split(',').any(|it| it.trim() == "trailers"))
}

/// What a program writes, as it writes it; the program ends when the client leaves.
fn stream_of(program: &str, words: &[String], trailers: bool) -> Reply {
    let child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(failure) => {
            let message = format!("could not run {program} on this machine: {failure}");
            return error(StatusCode::INTERNAL_SERVER_ERROR, &message);
        }
    };
    let mut output = child.stdout.take().expect("it was asked for");
    let (send, receive) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = tokio::select! {
                read = output.read(&mut buffer) => read,
                () = send.closed() => break,
            };
            match read {
                Ok(count) if count > 0 => {
                    let frame = Frame::data(Bytes::copy_from_slice(&buffer[..count]));
                    if send.send(frame).await.is_err() {
                        break;
                    }
                }
                _ => break,
            }
        }
        if !send.is_closed()
            && let Ok(Ok(status)) = tokio::time::timeout(ENDS_WITHIN, child.wait()).await
            && let Some(code) = status.code()
        {
            let name = HeaderName::from_static(fleet_api::EXIT_CODE);
            let trailers = [(name, HeaderValue::from(code))].into_iter().collect();
            let _ = send.send(Frame::trailers(trailers)).await;
        }
        let _ = child.kill().await;
    });
    said(StatusCode::OK, streaming(receive, trailers))
}

/// What a program said, with how it ended after it.
fn said(status: StatusCode, body: peer::Body) -> Reply {
    let mut reply = with_body(status, "text/plain; charset=utf-8", body);
    reply.headers_mut().insert(http::header::TRAILER, HeaderValue::from_static(fleet_api::EXIT_CODE));
    reply
}
