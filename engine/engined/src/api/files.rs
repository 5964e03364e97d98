//! A container's files: cp both ways, export, diff, commit; and its figures: top, stats, update.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use engine_image::pipe::pipe_out;
use http::StatusCode;
use serde_json::{Value, json};

use super::call::{Call, Done, Fail};
use super::images::blocking;
use crate::daemon::Daemon;
use crate::daemon::archive::Extract;
use crate::daemon::container::Container;
use crate::daemon::error::Refusal;
use crate::daemon::stats;
use crate::daemon::update::{Commit, Update};

async fn put_stat(
    d: &Arc<Daemon>,
    call: &mut Call<'_>,
    container: &Arc<Container>,
    shown: &str,
    path: &str,
) -> Result<(), Fail> {
    let (daemon, own) = (d.clone(), container.clone());
    let (shown, path) = (shown.to_owned(), path.to_owned());
    let stat = blocking(move || daemon.path_stat(&own, &shown, &path)).await?;
    let text = base64::engine::general_purpose::STANDARD.encode(stat.json().to_string());
    call.ex.set_header("x-docker-container-path-stat", &text);
    Ok(())
}

fn path_of(call: &Call<'_>) -> Result<String, Fail> {
    match call.query.text("path") {
        "" => Err(Fail::bad("bad parameter: path cannot be empty")),
        path => Ok(path.to_owned()),
    }
}

pub(super) async fn stat(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let path = path_of(call)?;
    let container = d.containers.find(id)?;
    put_stat(d, call, &container, id, &path).await?;
    call.empty(StatusCode::OK).await
}

pub(super) async fn get(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let path = path_of(call)?;
    let container = d.containers.find(id)?;
    put_stat(d, call, &container, id, &path).await?;
    let (daemon, own, shown) = (d.clone(), container.clone(), id.to_owned());
    stream_tar(call, "application/x-tar", move |out| {
        daemon.pack_path(&own, &shown, &path, out)?;
        daemon.tell_container(&own, "archive-path");
        Ok(())
    })
    .await
}

/// Streams what `write` writes. A failure cuts the reply.
async fn stream_tar(
    call: &mut Call<'_>,
    content_type: &str,
    write: impl FnOnce(&mut engine_image::pipe::PipeWriter) -> Result<(), Refusal> + Send + 'static,
) -> Done {
    let (mut out, mut pieces) = pipe_out();
    // Ends with the archive, or when the receiver is dropped.
    tokio::task::spawn_blocking(move || match write(&mut out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => {}
        Err(refusal) => out.fail(std::io::Error::other(refusal.message)),
    });
    let first = pieces.recv().await;
    if let Some(Err(error)) = &first {
        return Err(Fail::internal(error.to_string()));
    }
    let mut reply = call.ex.stream(StatusCode::OK, content_type).await?;
    let mut next = first;
    while let Some(piece) = next {
        reply.send(&piece?).await?;
        next = pieces.recv().await;
    }
    Ok(reply.end().await?)
}

pub(super) async fn put(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let path = path_of(call)?;
    let how = Extract {
        keep_folders: call.query.flag("noOverwriteDirNonDir"),
        as_user: call.query.flag("copyUIDGID"),
    };
    let container = d.containers.find(id)?;
    let archive = super::transfer::body_pipe(call).await?;
    let (daemon, shown) = (d.clone(), id.to_owned());
    blocking(move || daemon.extract_into(&container, &shown, &path, how, archive)).await?;
    call.empty(StatusCode::OK).await
}

pub(super) async fn export(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let container = d.containers.find(id)?;
    let daemon = d.clone();
    stream_tar(call, "application/octet-stream", move |out| daemon.export(&container, out)).await
}

pub(super) async fn changes(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let container = d.containers.find(id)?;
    let daemon = d.clone();
    let changes = blocking(move || daemon.changes(&container)).await?;
    let body = if changes.is_empty() { Value::Null } else { json!(changes) };
    call.ok_json(&body).await
}

pub(super) async fn commit(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let bytes = call.json_bytes().await?;
    let given: Value = if bytes.is_empty() { Value::Null } else { super::call::parse_json(&bytes)? };
    let container = d.containers.find(call.query.text("container"))?;
    let reference = match call.query.text("repo") {
        "" => None,
        repo => Some(
            engine_image::reference::with_optional_tag(repo, call.query.text("tag"))
                .map_err(engine_image::ImageError::from)?,
        ),
    };
    let changes: Vec<String> = call.query.all("changes").map(str::to_owned).collect();
    let own = container.record().config.clone();
    let base =
        match given.get("Config").or(Some(&given)).filter(|c| c.as_object().is_some_and(|o| !o.is_empty())) {
            Some(value) => engine_api::lenient::from_value(value)?,
            None => own.clone(),
        };
    let mut config: engine_image::RunConfig = super::build::apply_changes(base, &changes)?;
    crate::daemon::merge_image(&mut config, &own);
    let commit = Commit {
        reference,
        author: call.query.text("author").to_owned(),
        comment: call.query.text("comment").to_owned(),
        pause: call.query.flag_or("pause", true),
        config,
    };
    let id = d.commit(&container, commit).await?;
    call.reply_json(StatusCode::CREATED, &json!({ "Id": id.to_string() })).await
}

pub(super) async fn top(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let args = call.query.text("ps_args").to_owned();
    let container = d.containers.find(id)?;
    let daemon = d.clone();
    let own = container.clone();
    let body = blocking(move || daemon.top(&own, &args)).await?;
    d.tell_container(&container, "top");
    call.ok_json(&body).await
}

pub(super) async fn update(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let update: Update = call.json().await?;
    let update = if call.at_least(40) { update } else { update.without_pids_limit() };
    let container = d.containers.find(id)?;
    let warnings = d.update(&container, update).await?;
    let shown = if warnings.is_empty() { Value::Null } else { json!(warnings) };
    call.ok_json(&json!({ "Warnings": shown })).await
}

pub(super) async fn stats(d: &Arc<Daemon>, call: &mut Call<'_>, id: &str) -> Done {
    let (streaming, one_shot) = (call.query.flag_or("stream", true), call.query.flag("one-shot"));
    if streaming && one_shot {
        return Err(Fail::bad("cannot have stream=true and one-shot=true"));
    }
    let container = d.containers.find(id)?;
    let every = Duration::from_secs(1);
    if !streaming {
        let Some(first) = d.sample(&container)? else { return call.ok_json(&stats::empty(&container)).await };
        if one_shot {
            return call.ok_json(&first.json(None)).await;
        }
        tokio::time::sleep(every).await;
        let second = d.sample(&container)?;
        let body = second.map_or_else(|| stats::empty(&container), |s| s.json(Some(&first)));
        return call.ok_json(&body).await;
    }
    let mut reply = call.ex.stream(StatusCode::OK, "application/json").await?;
    let mut before: Option<stats::Sample> = None;
    loop {
        let sample =
            if container.phase.borrow().removed { break } else { d.sample(&container).unwrap_or(None) };
        let body = sample.as_ref().map_or_else(|| stats::empty(&container), |s| s.json(before.as_ref()));
        reply.send(format!("{body}\n").as_bytes()).await?;
        before = sample;
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = reply.closed() => return Ok(()),
        }
    }
    Ok(reply.end().await?)
}
