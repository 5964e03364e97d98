//! Printing, as etcdctl prints: simple text, JSON with base64, one field a line, or a table.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kv_api::{etcdserverpb::ResponseHeader, mvccpb::KeyValue};
use serde_json::{Map, Value, json};

/// How replies are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Simple,
    Json,
    Fields,
    Table,
}

pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) hex: bool,
}

impl Output {
    /// Bytes for people.
    pub(crate) fn text(&self, bytes: &[u8]) -> String {
        if self.hex {
            return bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        }
        String::from_utf8_lossy(bytes).into_owned()
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    pub(crate) fn is_fields(&self) -> bool {
        self.format == Format::Fields
    }

    /// Key and value on a line each.
    pub(crate) fn pair(&self, pair: &KeyValue, value_only: bool) {
        if self.is_fields() {
            return fields_of(pair);
        }
        if !value_only {
            say!("{}", self.text(&pair.key));
        }
        say!("{}", self.text(&pair.value));
    }
}

fn fields_of(pair: &KeyValue) {
    say!("\"Key\" : {:?}", String::from_utf8_lossy(&pair.key));
    say!("\"CreateRevision\" : {}", pair.create_revision);
    say!("\"ModRevision\" : {}", pair.mod_revision);
    say!("\"Version\" : {}", pair.version);
    say!("\"Value\" : {:?}", String::from_utf8_lossy(&pair.value));
    say!("\"Lease\" : {}", pair.lease);
}

/// The header, one field a line.
pub(crate) fn header_fields(header: &Option<ResponseHeader>) {
    let header = header.unwrap_or_default();
    say!("\"ClusterID\" : {}", header.cluster_id);
    say!("\"MemberID\" : {}", header.member_id);
    say!("\"Revision\" : {}", header.revision);
    say!("\"RaftTerm\" : {}", header.raft_term);
}

/// An object without what is zero or empty, as Go leaves it out.
pub(crate) fn object(fields: &[(&str, Value)]) -> Value {
    let mut out = Map::new();
    for (name, value) in fields {
        let empty = match value {
            Value::Null => true,
            Value::Bool(value) => !value,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            Value::Object(_) => false,
        };
        if !empty {
            out.insert((*name).to_owned(), value.clone());
        }
    }
    Value::Object(out)
}

pub(crate) fn header_json(header: &Option<ResponseHeader>) -> Value {
    let header = header.unwrap_or_default();
    object(&[
        ("cluster_id", json!(header.cluster_id)),
        ("member_id", json!(header.member_id)),
        ("revision", json!(header.revision)),
        ("raft_term", json!(header.raft_term)),
    ])
}

pub(crate) fn pair_json(pair: &KeyValue) -> Value {
    object(&[
        ("key", json!(STANDARD.encode(&pair.key))),
        ("create_revision", json!(pair.create_revision)),
        ("mod_revision", json!(pair.mod_revision)),
        ("version", json!(pair.version)),
        ("value", json!(STANDARD.encode(&pair.value))),
        ("lease", json!(pair.lease)),
    ])
}

/// A table with a frame, columns centred in the head.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = head.iter().map(|name| name.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
    say!("{rule}+");
    let names: String = head.iter().zip(&widths).map(|(name, width)| format!("| {name:^width$} ")).collect();
    say!("{names}|");
    say!("{rule}+");
    for row in rows {
        let numeric = |cell: &str| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
        let cells = row.iter().zip(&widths).map(|(cell, width)| match numeric(cell) {
            true => format!("| {cell:>width$} "),
            false => format!("| {cell:<width$} "),
        });
        say!("{}|", cells.collect::<String>());
    }
    if !rows.is_empty() {
        say!("{rule}+");
    }
}
