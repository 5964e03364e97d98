//! What long operations tell as they go: one value per line of Docker's JSON progress stream.
//!
//! Serialises to exactly the object a Docker client expects; framing (CRLF) is the sender's.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// One message of a pull, push, load, import or build.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// `{"status":…,"id":…}`
    Status { id: Option<String>, status: String },
    /// A layer's state without figures: `{"status":…,"progressDetail":{},"id":…}`
    Layer { id: String, status: &'static str },
    /// Bytes done of a total (0 = unknown), drawn as Docker draws its bar.
    Progress { id: Option<String>, status: &'static str, current: u64, total: u64 },
    /// `{"stream":…}`
    Stream(String),
    /// `{"aux":…}`; a push's carries `"progressDetail":{}` as well.
    Aux { push: bool, value: serde_json::Value },
    /// The end of a failed operation whose head already said 200.
    Error { message: String, code: Option<i32> },
}

/// Where events go. Called from several threads; must not block for long.
pub trait Sink: Send + Sync {
    fn event(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync> Sink for F {
    fn event(&self, event: Event) {
        self(event);
    }
}

impl Event {
    pub fn status(status: impl Into<String>) -> Self {
        Self::Status { id: None, status: status.into() }
    }

    pub fn status_of(id: impl Into<String>, status: impl Into<String>) -> Self {
        Self::Status { id: Some(id.into()), status: status.into() }
    }

    pub fn layer(id: impl Into<String>, status: &'static str) -> Self {
        Self::Layer { id: id.into(), status }
    }

    pub fn stream(text: impl Into<String>) -> Self {
        Self::Stream(text.into())
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Status { id, status } => {
                map.serialize_entry("status", status)?;
                if let Some(id) = id {
                    map.serialize_entry("id", id)?;
                }
            }
            Self::Layer { id, status } => {
                map.serialize_entry("status", status)?;
                map.serialize_entry("progressDetail", &serde_json::json!({}))?;
                map.serialize_entry("id", id)?;
            }
            Self::Progress { id, status, current, total } => {
                map.serialize_entry("status", status)?;
                map.serialize_entry("progressDetail", &detail(*current, *total))?;
                map.serialize_entry("progress", &bar(*current, *total))?;
                if let Some(id) = id {
                    map.serialize_entry("id", id)?;
                }
            }
            Self::Stream(text) => map.serialize_entry("stream", text)?,
            Self::Aux { push, value } => {
                if *push {
                    map.serialize_entry("progressDetail", &serde_json::json!({}))?;
                }
                map.serialize_entry("aux", value)?;
            }
            Self::Error { message, code } => {
                let detail = match code {
                    Some(code) => serde_json::json!({"code": code, "message": message}),
                    None => serde_json::json!({"message": message}),
                };
                map.serialize_entry("errorDetail", &detail)?;
                map.serialize_entry("error", message)?;
            }
        }
        map.end()
    }
}

fn detail(current: u64, total: u64) -> serde_json::Value {
    match (current, total) {
        (0, 0) => serde_json::json!({}),
        (current, 0) => serde_json::json!({"current": current}),
        (0, total) => serde_json::json!({"total": total}),
        (current, total) => serde_json::json!({"current": current, "total": total}),
    }
}

/// `[=====>      ]  1.2MB/3.4MB`, fifty characters wide.
fn bar(current: u64, total: u64) -> String {
    if total == 0 {
        return format!("{:>8}", human_size(current));
    }
    let half = usize::try_from((current as u128 * 100 / total as u128).min(100) / 2).unwrap_or(50);
    let spaces = 50usize.saturating_sub(half);
    let sizes = if current > total {
        format!("{:>8}", human_size(current))
    } else {
        format!("{:>8}/{}", human_size(current), human_size(total))
    };
    format!("[{}>{}] {sizes}", "=".repeat(half), " ".repeat(spaces))
}

/// Decimal units with four significant digits, as Docker prints sizes (`1.234MB`).
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{}{}", four_digits(value), UNITS[unit])
}

/// `%.4g`: four significant digits, no trailing zeros.
fn four_digits(value: f64) -> String {
    let decimals = match value {
        v if v >= 999.95 => 0,
        v if v >= 99.995 => 1,
        v if v >= 9.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(event: &Event) -> String {
        serde_json::to_string(event).expect("events are plain values")
    }

    #[test]
    fn events_have_dockers_shape() {
        assert_eq!(
            json(&Event::status_of("latest", "Pulling from x")),
            r#"{"status":"Pulling from x","id":"latest"}"#
        );
        assert_eq!(
            json(&Event::layer("abc", "Pull complete")),
            r#"{"status":"Pull complete","progressDetail":{},"id":"abc"}"#
        );
        let progress =
            Event::Progress { id: Some("abc".into()), status: "Downloading", current: 1234, total: 100_000 };
        assert_eq!(
            json(&progress),
            concat!(
                r#"{"status":"Downloading","progressDetail":{"current":1234,"total":100000},"#,
                r#""progress":"[>                                                  ]  1.234kB/100kB","id":"abc"}"#
            )
        );
        assert_eq!(
            json(&Event::Error { message: "no".into(), code: None }),
            r#"{"errorDetail":{"message":"no"},"error":"no"}"#
        );
    }

    #[test]
    fn sizes_have_four_digits() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1536, "1.536kB"),
            (312_345_678, "312.3MB"),
            (2_000_000_000, "2GB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(human_size(bytes), text);
        }
    }
}
