//! `events`: what happens in the engine, a line each.

use go_template::{Missing, Template};
use quiet_stdout::say;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::flags::Options;
use crate::http::{Body, Client, Failure};
use crate::lists::filters;
use crate::words::{moment, text};

/// How an event is shown.
enum Shown {
    /// Time, type, action, id and attributes.
    Line,
    /// As the engine sent it.
    Json,
    Filled(Template),
}

pub(crate) fn events(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let shown = match options.text("format").as_str() {
        "" => Shown::Line,
        "json" | "{{json .}}" => Shown::Json,
        format => Shown::Filled(Template::parse(format).map_err(|error| wrong_format(&error.to_string()))?),
    };
    let mut path = format!("/events?filters={}", filters(options, "filter", &[])?);
    for name in ["since", "until"] {
        let at = moment(&options.text(name)).map_err(Failure::Usage)?;
        if !at.is_empty() {
            path.push_str(&format!("&{name}={at}"));
        }
    }
    let mut answer = client.send("GET", &path, Body::None)?;
    let (mut rest, mut failed) = (Vec::new(), None);
    answer
        .each(&mut |piece| {
            rest.extend_from_slice(piece);
            while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                match show(&shown, line.trim_end()) {
                    Ok(shown) => say!("{shown}"),
                    Err(failure) => {
                        failed = Some(failure);
                        return Err(std::io::ErrorKind::Interrupted.into());
                    }
                }
            }
            Ok(())
        })
        .map_err(|broken| failed.unwrap_or(Failure::Broken(broken)))?;
    Ok(0)
}

fn show(shown: &Shown, line: &str) -> Result<String, Failure> {
    if let Shown::Json = shown {
        return Ok(line.to_owned());
    }
    let event: Value = serde_json::from_str(line).unwrap_or_default();
    match shown {
        Shown::Filled(template) => {
            let filled = template.fill(&by_gos_names(&event), Missing::NoValue);
            filled.map_err(|error| wrong_format(&error.to_string()))
        }
        Shown::Line | Shown::Json => Ok(plain(&event)),
    }
}

fn wrong_format(problem: &str) -> Failure {
    Failure::Ended { text: format!("Error parsing format: template: :1: {problem}"), code: 64 }
}

/// Templates name the fields as Docker's own code does.
fn by_gos_names(event: &Value) -> Value {
    json!({
        "Status": text(&event["status"]), "ID": text(&event["id"]), "From": text(&event["from"]),
        "Type": event["Type"], "Action": event["Action"], "Actor": event["Actor"],
        "Scope": text(&event["scope"]), "Time": event["time"], "TimeNano": event["timeNano"],
    })
}

fn plain(event: &Value) -> String {
    let mut line = [
        date(event["timeNano"].as_i64().unwrap_or(0)),
        text(&event["Type"]),
        text(&event["Action"]),
        text(&event["Actor"]["ID"]),
    ]
    .join(" ");
    let attributes = event["Actor"]["Attributes"].as_object().into_iter().flatten();
    let mut attributes: Vec<String> =
        attributes.map(|(key, value)| format!("{key}={}", text(value))).collect();
    if !attributes.is_empty() {
        attributes.sort();
        line.push_str(&format!(" ({})", attributes.join(", ")));
    }
    line
}

/// Always with nine digits, so that lines are as long as each other.
fn date(nanoseconds: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");
    let date = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds.into());
    date.ok().and_then(|date| date.format(format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let line = r#"{"status":"die","id":"c1","from":"bb","Type":"container","Action":"die","Actor":{"ID":"c1","Attributes":{"name":"x","exitCode":"1"}},"scope":"local","time":1795868044,"timeNano":1795868044000001075}"#;
        let said = |shown: &Shown| show(shown, line).map_err(|failure| failure.to_string());
        assert_eq!(
            said(&Shown::Line).as_deref(),
            Ok("2026-11-28T12:14:04.000001075Z container die c1 (exitCode=1, name=x)")
        );
        assert_eq!(said(&Shown::Json).as_deref(), Ok(line));
        let template = "{{.Status}} {{.From}} {{.Actor.Attributes.exitCode}} {{.Time}} {{.Scope}}";
        let template = Template::parse(template).expect("fine");
        assert_eq!(said(&Shown::Filled(template)).as_deref(), Ok("die bb 1 1795868044 local"));
    }
}
