//! put, get, del, watch, compaction.

use std::{io::Read as _, process::ExitCode};

use bytes::Bytes;
use kv_api::{
    etcdserverpb::{
        DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
        range_request::{SortOrder, SortTarget},
    },
    prefix_end,
};
use kv_client::{EventType, WatchOptions};
use serde_json::{Value, json};

use crate::{
    Failure,
    flags::{self, Session},
    output::{Output, header_fields, header_json, object, pair_json},
};

fn range_of(key: &str, end: Option<&str>, prefix: bool, from_key: bool) -> Result<(Bytes, Bytes), Failure> {
    let key = Bytes::from(key.to_owned());
    Ok(match (end, prefix, from_key) {
        (_, true, true) => {
            return Err("`--prefix` and `--from-key` cannot be set at the same time, choose one".into());
        }
        (Some(_), true, _) | (Some(_), _, true) => {
            return Err(
                "too many arguments, only accept one argument when `--prefix` or `--from-key` is set".into(),
            );
        }
        (None, true, _) if key.is_empty() => (Bytes::from_static(&[0]), Bytes::from_static(&[0])),
        (None, true, _) => (key.clone(), prefix_end(&key)),
        (None, _, true) if key.is_empty() => (Bytes::from_static(&[0]), Bytes::from_static(&[0])),
        (None, _, true) => (key, Bytes::from_static(&[0])),
        (Some(end), ..) => (key, Bytes::from(end.to_owned())),
        (None, false, false) => (key, Bytes::new()),
    })
}

pub(crate) async fn put(session: &Session, out: &Output, command: flags::Put) -> Result<ExitCode, Failure> {
    let value = match command.value {
        Some(value) => value.into_bytes(),
        None if command.ignore_value => Vec::new(),
        None => {
            let mut value = Vec::new();
            std::io::stdin().read_to_end(&mut value)?;
            value
        }
    };
    let lease = command.lease.as_deref().map(flags::id).transpose()?.unwrap_or(0) as i64;
    let request = PutRequest {
        key: command.key.into(),
        value: value.into(),
        lease,
        prev_kv: command.prev_kv,
        ignore_value: command.ignore_value,
        ignore_lease: command.ignore_lease,
    };
    print_put(out, &session.client.put_with(request).await?);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn put_json(reply: &PutResponse) -> Value {
    let previous = reply.prev_kv.as_ref().map_or(Value::Null, pair_json);
    object(&[("header", header_json(&reply.header)), ("prev_kv", previous)])
}

pub(crate) fn print_put(out: &Output, reply: &PutResponse) {
    if out.is_json() {
        return say!("{}", put_json(reply));
    }
    if out.is_fields() {
        header_fields(&reply.header);
    } else {
        say!("OK");
    }
    if let Some(pair) = &reply.prev_kv {
        out.pair(pair, false);
    }
}

pub(crate) async fn get(session: &Session, out: &Output, command: flags::Get) -> Result<ExitCode, Failure> {
    let (key, range_end) =
        range_of(&command.key, command.range_end.as_deref(), command.prefix, command.from_key)?;
    let sort_target = match command.sort_by.to_ascii_uppercase().as_str() {
        "" | "KEY" => SortTarget::Key,
        "CREATE" => SortTarget::Create,
        "MODIFY" => SortTarget::Mod,
        "VALUE" => SortTarget::Value,
        "VERSION" => SortTarget::Version,
        other => return Err(format!("bad sort target {other}").into()),
    };
    let sort_order = match command.order.to_ascii_uppercase().as_str() {
        "ASCEND" => SortOrder::Ascend,
        "DESCEND" => SortOrder::Descend,
        "" if sort_target == SortTarget::Key => SortOrder::None,
        "" => SortOrder::Ascend,
        other => return Err(format!("bad sort order {other}").into()),
    };
    let serializable = match command.consistency.as_str() {
        "l" => false,
        "s" => true,
        other => return Err(format!("unknown consistency flag {other:?}").into()),
    };
    let request = RangeRequest {
        key,
        range_end,
        limit: command.limit,
        revision: command.rev,
        sort_order: sort_order.into(),
        sort_target: sort_target.into(),
        serializable,
        keys_only: command.keys_only,
        count_only: command.count_only,
        ..Default::default()
    };
    let reply = session.client.range(request).await?;
    if command.count_only && out.is_fields() {
        say!("\"Count\" : {}", reply.count);
        return Ok(ExitCode::SUCCESS);
    }
    print_range(out, &reply, command.print_value_only);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn range_json(reply: &RangeResponse) -> Value {
    let pairs: Vec<Value> = reply.kvs.iter().map(pair_json).collect();
    object(&[
        ("header", header_json(&reply.header)),
        ("kvs", json!(pairs)),
        ("more", json!(reply.more)),
        ("count", json!(reply.count)),
    ])
}

pub(crate) fn print_range(out: &Output, reply: &RangeResponse, value_only: bool) {
    if out.is_json() {
        return say!("{}", range_json(reply));
    }
    if out.is_fields() {
        header_fields(&reply.header);
    }
    for pair in &reply.kvs {
        out.pair(pair, value_only);
    }
    if out.is_fields() {
        say!("\"More\" : {}\n\"Count\" : {}", reply.more, reply.count);
    }
}

pub(crate) async fn del(session: &Session, out: &Output, command: flags::Del) -> Result<ExitCode, Failure> {
    let (key, range_end) =
        range_of(&command.key, command.range_end.as_deref(), command.prefix, command.from_key)?;
    let request = DeleteRangeRequest { key, range_end, prev_kv: command.prev_kv };
    print_del(out, &session.client.delete_with(request).await?);
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn del_json(reply: &DeleteRangeResponse) -> Value {
    let pairs: Vec<Value> = reply.prev_kvs.iter().map(pair_json).collect();
    object(&[
        ("header", header_json(&reply.header)),
        ("deleted", json!(reply.deleted)),
        ("prev_kvs", json!(pairs)),
    ])
}

pub(crate) fn print_del(out: &Output, reply: &DeleteRangeResponse) {
    if out.is_json() {
        return say!("{}", del_json(reply));
    }
    if out.is_fields() {
        header_fields(&reply.header);
        say!("\"Deleted\" : {}", reply.deleted);
    } else {
        say!("{}", reply.deleted);
    }
    for pair in &reply.prev_kvs {
        out.pair(pair, false);
    }
}

pub(crate) async fn watch(
    session: &Session,
    out: &Output,
    command: flags::Watch,
) -> Result<ExitCode, Failure> {
    let (key, range_end) = range_of(&command.key, command.range_end.as_deref(), command.prefix, false)?;
    let options = WatchOptions {
        key,
        range_end,
        start_revision: command.rev,
        prev_kv: command.prev_kv,
        progress_notify: false,
    };
    let mut watch = session.client.watch(options).await?;
    loop {
        let watched = tokio::select! {
            watched = watch.next() => watched?,
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        };
        if out.is_json() {
            let event = |event: &kv_client::Event| {
                object(&[
                    ("type", json!(event.r#type)),
                    ("kv", event.kv.as_ref().map_or(Value::Null, pair_json)),
                    ("prev_kv", event.prev_kv.as_ref().map_or(Value::Null, pair_json)),
                ])
            };
            let events: Vec<Value> = watched.events.iter().map(event).collect();
            say!("{}", json!({"Header": {"revision": watched.revision}, "Events": events}));
            continue;
        }
        for event in &watched.events {
            say!("{}", if event.r#type() == EventType::Put { "PUT" } else { "DELETE" });
            for pair in event.prev_kv.iter().chain(&event.kv) {
                out.pair(pair, false);
            }
        }
    }
}

pub(crate) async fn compact(session: &Session, revision: i64, physical: bool) -> Result<ExitCode, Failure> {
    session.client.compact(revision, physical).await?;
    say!("compacted revision {revision}");
    Ok(ExitCode::SUCCESS)
}
