//! Images on their way in and out: load, save, import, pull, push.

use std::io::Write;
use std::sync::Arc;

use engine_image::pipe::{pipe, pipe_out};
use engine_image::registry::Auth;
use engine_image::{Event, ImageError, ImportOptions, Platform, Sink};
use http::StatusCode;
use tokio::io::AsyncReadExt;

use super::call::{Call, Done, Fail};
use super::images::tell;
use super::progress;
use crate::daemon::Daemon;
use crate::daemon::error::Refusal;

/// Bodies are handed on in pieces of this size.
const PIECE: usize = 256 * 1024;

/// The request's body for code that blocks. Ends broken if the client goes away in the middle.
pub(super) async fn body_pipe(call: &mut Call<'_>) -> Result<engine_image::pipe::PipeReader, Fail> {
    let (sender, reader) = pipe();
    let Some(mut body) = call.ex.take_body().await? else { return Err(Fail::bad("the request has no body")) };
    // Ends with the body, or when the reader is dropped.
    tokio::spawn(async move {
        let mut buffer = vec![0; PIECE];
        loop {
            match body.read(&mut buffer).await {
                Ok(0) => return sender.finish().await,
                Ok(n) if sender.send(bytes::Bytes::copy_from_slice(&buffer[..n])).await => {}
                // What nobody wants is read away, so that the client gets its answer.
                Ok(_) => {
                    // The connection may break meanwhile.
                    let _ = tokio::io::copy(&mut body, &mut tokio::io::sink()).await;
                    return;
                }
                Err(_) => return,
            }
        }
    });
    Ok(reader)
}

/// A file from the net for code that blocks. Ends broken if it does not come whole.
pub(super) async fn url_pipe(d: &Daemon, url: &str) -> Result<engine_image::pipe::PipeReader, Fail> {
    let mut download = d.registry.download(url).await?;
    let (sender, reader) = pipe();
    let url = url.to_owned();
    // Ends with the file, or when the reader is dropped.
    tokio::spawn(async move {
        loop {
            match download.chunk().await {
                Ok(Some(piece)) => {
                    if !sender.send(piece).await {
                        return;
                    }
                }
                Ok(None) => return sender.finish().await,
                Err(error) => return tracing::warn!(%url, error = %error.report(), "a download broke off"),
            }
        }
    });
    Ok(reader)
}

pub(super) async fn load(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let quiet = call.query.flag_or("quiet", true);
    let archive = body_pipe(call).await?;
    let d = d.clone();
    progress::stream(call, false, |sink| async move {
        let loading = d.clone();
        let reporter = sink.clone();
        let work = move || loading.store.load(archive, quiet, &*sink).map_err(Refusal::from);
        match tokio::task::spawn_blocking(work).await.map_err(|e| Refusal::internal(e.to_string()))? {
            Ok(ids) => ids.into_iter().for_each(|id| tell(&d, "load", &id, &id.to_string())),
            // Part of the stream even when nothing came before it, where clients look for it.
            Err(refusal) => reporter.event(Event::Error { message: refusal.message, code: None }),
        }
        Ok(())
    })
    .await
}

pub(super) async fn save(d: &Arc<Daemon>, call: &mut Call<'_>, names: Vec<String>) -> Done {
    let items = d.store.plan_save(&names)?;
    let (mut out, mut pieces) = pipe_out();
    let store = d.store.clone();
    let ids: Vec<_> = names.iter().filter_map(|n| d.store.lookup(n).ok()).map(|i| i.id).collect();
    // Ends with the archive, or when the receiver is dropped.
    tokio::task::spawn_blocking(move || match store.save(&items, &mut out) {
        // A receiver that is gone needs no end.
        Ok(()) => drop(out.flush()),
        Err(error) => out.fail(std::io::Error::other(error.report())),
    });
    for id in ids {
        tell(d, "save", &id, &id.to_string());
    }
    let mut reply = call.ex.stream(StatusCode::OK, "application/x-tar").await?;
    while let Some(piece) = pieces.recv().await {
        // A failure cuts the reply, so that the client does not take it for whole.
        reply.send(&piece?).await?;
    }
    Ok(reply.end().await?)
}

pub(super) async fn create(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    if !call.query.text("fromImage").is_empty() {
        return pull(d, call).await;
    }
    match call.query.text("fromSrc") {
        "" => Err(Fail::bad("name or fromSrc must be given")),
        "-" => import(d, call, "-").await,
        source => {
            // A bare name is meant as http, as Docker has it.
            let url = if source.contains("://") { source.to_owned() } else { format!("http://{source}") };
            import(d, call, &url).await
        }
    }
}

async fn import(d: &Arc<Daemon>, call: &mut Call<'_>, source: &str) -> Done {
    let (repo, tag) = (call.query.text("repo").to_owned(), call.query.text("tag").to_owned());
    let reference = match repo.as_str() {
        "" => None,
        repo => Some(engine_image::reference::with_optional_tag(repo, &tag).map_err(ImageError::from)?),
    };
    let changes: Vec<String> = call.query.all("changes").map(str::to_owned).collect();
    let config = super::build::apply_changes(engine_image::RunConfig::default(), &changes)?;
    let message = call.query.get("message").map_or_else(|| format!("Imported from {source}"), str::to_owned);
    let platform = match call.query.text("platform") {
        "" => None,
        text => Some(Platform::parse(text)?),
    };
    if let Some(other) = platform.as_ref().filter(|p| p.os != "linux") {
        return Err(Fail::bad(format!("operating system is not supported: {}", other.os)));
    }
    let options = ImportOptions { reference: reference.clone(), comment: message, config, platform };
    let tree = if source == "-" { body_pipe(call).await? } else { url_pipe(d, source).await? };
    let d = d.clone();
    progress::stream(call, false, |sink| async move {
        let importing = d.clone();
        let work = move || importing.store.import(tree, &options, &*sink as &dyn Sink).map_err(Refusal::from);
        let id = tokio::task::spawn_blocking(work).await.map_err(|e| Refusal::internal(e.to_string()))??;
        if let Some(reference) = reference {
            tell(&d, "tag", &id, &reference.familiar_name());
        }
        tell(&d, "import", &id, &id.to_string());
        Ok(())
    })
    .await
}

async fn pull(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let reference =
        engine_image::reference::with_optional_tag(call.query.text("fromImage"), call.query.text("tag"))
            .map_err(ImageError::from)?;
    let platform = match call.query.text("platform") {
        "" => None,
        text => Some(Platform::parse(text)?),
    };
    if reference.domain() == "docker.io" && reference.path() == "library/scratch" {
        return Err(Fail::bad("'scratch' is a reserved name"));
    }
    let auth = auth_of(call)?;
    let d = d.clone();
    progress::stream(call, true, |sink| async move {
        let sink: Arc<dyn Sink> = sink;
        let id = d.registry.pull(&d.store, &reference, &auth, platform.as_ref(), &sink).await?;
        tell(&d, "pull", &id, &reference.clone().with_default_tag().to_string());
        Ok(())
    })
    .await
}

/// The credentials a client sends along.
fn auth_of(call: &Call<'_>) -> Result<Auth, Fail> {
    Ok(Auth::from_header(call.ex.head.header("x-registry-auth").unwrap_or_default())?)
}

pub(super) async fn push(d: &Arc<Daemon>, call: &mut Call<'_>, name: &str) -> Done {
    let reference = match call.query.text("tag") {
        "" => engine_image::Reference::parse(name),
        tag => engine_image::reference::with_optional_tag(name, tag),
    };
    let reference = reference.map_err(ImageError::from)?;
    let auth = auth_of(call)?;
    let d = d.clone();
    progress::stream(call, true, |sink| async move {
        let sink: Arc<dyn Sink> = sink;
        let (pushing, target) = (d.clone(), reference.clone());
        // On a thread of its own: the registry client's future does not move between threads.
        let work = move || {
            let push = pushing.registry.push(&pushing.store, &target, &auth, &sink);
            tokio::runtime::Handle::current().block_on(push)
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Refusal::internal(e.to_string()))??;
        if let Some(id) = d.store.resolve(&reference) {
            tell(&d, "push", &id, &reference.to_string());
        }
        Ok(())
    })
    .await
}

/// `GET /distribution/NAME/json`
pub(super) async fn distribution(d: &Arc<Daemon>, call: &mut Call<'_>, name: &str) -> Done {
    let reference = engine_image::Reference::parse(name).map_err(ImageError::from)?;
    let auth = auth_of(call)?;
    let found = d.registry.resolve(&reference, &auth).await?;
    let platforms: Vec<serde_json::Value> = found
        .platforms
        .iter()
        .map(|p| {
            let mut shown = serde_json::json!({ "architecture": p.architecture, "os": p.os });
            if !p.variant.is_empty() {
                shown["variant"] = p.variant.clone().into();
            }
            shown
        })
        .collect();
    let body = serde_json::json!({
        "Descriptor": {
            "mediaType": found.media_type,
            "digest": found.digest.to_string(),
            "size": found.size,
        },
        "Platforms": platforms,
    });
    call.ok_json(&body).await
}

pub(super) async fn login(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let body = call.ex.body(1 << 20).await?;
    let auth = Auth::from_json(&body).map_err(|e| Fail::bad(format!("invalid JSON: {e}")))?;
    let login = d.registry.login(&auth).await?;
    let body = serde_json::json!({ "Status": login.status, "IdentityToken": login.identity_token });
    call.ok_json(&body).await
}
