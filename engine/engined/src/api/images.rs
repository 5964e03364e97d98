//! Images: lists, inspection, tags, removal.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine_image::{Image, ImageId, Removed, Usage};
use http::StatusCode;
use serde_json::{Value, json};

use super::call::{Call, Done, Fail};
use crate::daemon::Daemon;
use crate::daemon::error::Refusal;
use crate::daemon::events::attributes;
use crate::daemon::filters::Filters;

impl From<engine_image::ImageError> for Fail {
    fn from(error: engine_image::ImageError) -> Fail {
        Refusal::from(error).into()
    }
}

/// Runs file work on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Fail> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|e| Fail::internal(format!("the work failed: {e}")))??)
}

pub(super) async fn list(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.check(&["before", "dangling", "label", "reference", "since", "until"])?;
    let all = call.query.flag("all");
    let dangling = filters.flag("dangling")?;
    let bound = |key: &str| -> Result<Option<i64>, Fail> {
        let Some(name) = filters.values(key).next() else { return Ok(None) };
        Ok(Some(created(&*d.store.lookup(name)?)))
    };
    let (since, before) = (bound("since")?, bound("before")?);
    let until = super::prune::until(&filters)?;
    let legacy = !call.at_least(43);
    let mut images = d.store.images();
    images.sort_by_key(|i| std::cmp::Reverse(created(i)));
    let mut lines = Vec::new();
    for image in images {
        let tags = d.store.tags_of(&image.id);
        let digests = d.store.digests_of(&image.id);
        let labels = image.config.config.as_ref().and_then(|c| c.labels.clone());
        let untagged = tags.is_empty() && digests.is_empty();
        let hidden = untagged && !d.store.children(&image.id).is_empty() && !all;
        let fits = !hidden
            && dangling.is_none_or(|wanted| tags.is_empty() == wanted)
            && since.is_none_or(|s| created(&image) > s)
            && before.is_none_or(|b| created(&image) < b)
            && until.is_none_or(|u| created(&image) < u / 1_000_000_000)
            && filters.labels("label", &labels.clone().unwrap_or_default());
        if !fits {
            continue;
        }
        let named = |list: &[String]| -> Vec<String> {
            list.iter().filter(|t| filters.any("reference", |p| reference_matches(t, p))).cloned().collect()
        };
        let (mut tags, mut digests) = (named(&tags), named(&digests));
        if filters.has("reference") && tags.is_empty() && digests.is_empty() {
            continue;
        }
        if legacy && untagged {
            tags = vec!["<none>:<none>".into()];
            digests = vec!["<none>@<none>".into()];
        }
        lines.push(line(&image, tags, digests, labels, call));
    }
    call.ok_json(&lines).await
}

fn line(
    image: &Image,
    tags: Vec<String>,
    digests: Vec<String>,
    labels: Option<BTreeMap<String, String>>,
    call: &Call<'_>,
) -> Value {
    // Old versions said null where new ones say nothing is there.
    let listed =
        |list: Vec<String>| if list.is_empty() && !call.at_least(43) { Value::Null } else { json!(list) };
    let mut line = json!({
        "Containers": -1,
        "Created": created(image),
        "Id": image.id.to_string(),
        "Labels": labels,
        "ParentId": image.parent.map(|p| p.to_string()).unwrap_or_default(),
        "RepoDigests": listed(digests),
        "RepoTags": listed(tags),
        "SharedSize": -1,
        "Size": image.size,
    });
    if !call.at_least(44) {
        line["VirtualSize"] = image.size.into();
    }
    line
}

fn created(image: &Image) -> i64 {
    engine_image::config::unix_seconds(&image.config.created)
}

/// `busy*`, `*/x:1*`: the whole familiar name, or the name without the tag.
fn reference_matches(reference: &str, pattern: &str) -> bool {
    let bare = reference.split('@').next().unwrap_or(reference);
    let repository = match bare.rsplit_once(':') {
        Some((repo, tag)) if !tag.contains('/') => repo,
        _ => bare,
    };
    glob(pattern, reference) || glob(pattern, repository)
}

/// `*` and `?` do not cross slashes.
fn glob(pattern: &str, text: &str) -> bool {
    let mut regex = String::from("^");
    for c in pattern.chars() {
        match c {
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    regex::Regex::new(&regex).is_ok_and(|r| r.is_match(text))
}

pub(super) async fn inspect(d: &Arc<Daemon>, call: &mut Call<'_>, name: &str) -> Done {
    let image = d.store.lookup(name)?;
    let config = &image.config;
    let empty = engine_image::RunConfig::default();
    let mut body = json!({
        "Id": image.id.to_string(),
        "RepoTags": d.store.tags_of(&image.id),
        "RepoDigests": d.store.digests_of(&image.id),
        "Parent": image.parent.map(|p| p.to_string()).unwrap_or_default(),
        "Comment": config.history.last().map(|h| h.comment.clone()).unwrap_or_default(),
        "Created": config.created,
        "DockerVersion": config.docker_version,
        "Author": config.author,
        "Config": config.config,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size,
        "GraphDriver": graph_driver(d, &image),
        "RootFS": { "Type": "layers", "Layers": config.rootfs.diff_ids.iter().map(ToString::to_string).collect::<Vec<_>>() },
        "Metadata": { "LastTagTime": if image.last_tagged.is_empty() { "0001-01-01T00:00:00Z" } else { &image.last_tagged } },
    });
    if !config.variant.is_empty() {
        body["Variant"] = config.variant.clone().into();
    }
    if !call.at_least(45) {
        body["Container"] = config.container.clone().into();
        body["ContainerConfig"] = json!(config.container_config.as_ref().unwrap_or(&empty));
    }
    if !call.at_least(44) {
        body["VirtualSize"] = image.size.into();
    }
    call.ok_json(&body).await
}

fn graph_driver(d: &Daemon, image: &Image) -> Value {
    let dirs = d.store.lower_dirs(image).unwrap_or_default();
    let mut data = serde_json::Map::new();
    if let Some((top, rest)) = dirs.split_first() {
        if !rest.is_empty() {
            let lowers: Vec<String> = rest.iter().map(|p| p.display().to_string()).collect();
            data.insert("LowerDir".into(), lowers.join(":").into());
        }
        data.insert("UpperDir".into(), json!(top));
    }
    json!({ "Data": data, "Name": "overlay2" })
}

pub(super) async fn history(d: &Arc<Daemon>, call: &mut Call<'_>, name: &str) -> Done {
    let image = d.store.lookup(name)?;
    let lines: Vec<Value> = d
        .store
        .history(&image)
        .into_iter()
        .map(|h| {
            json!({
                "Comment": h.comment,
                "Created": h.created,
                "CreatedBy": h.created_by,
                "Id": h.id,
                "Size": h.size,
                "Tags": if h.tags.is_empty() { Value::Null } else { json!(h.tags) },
            })
        })
        .collect();
    call.ok_json(&lines).await
}

pub(super) async fn tag(d: &Arc<Daemon>, call: &mut Call<'_>, name: &str) -> Done {
    let reference =
        engine_image::reference::with_optional_tag(call.query.text("repo"), call.query.text("tag"))
            .map_err(engine_image::ImageError::from)?;
    if reference.digest().is_some() {
        return Err(Fail::bad("refusing to create a tag with a digest reference"));
    }
    if reference.familiar_name() == "sha256" {
        return Err(Fail::bad("refusing to create an ambiguous tag using digest algorithm as name"));
    }
    let image = d.store.lookup(name)?;
    let (daemon, id, target) = (d.clone(), image.id, reference.clone());
    blocking(move || Ok(daemon.store.tag(&id, &target)?)).await?;
    tell(d, "tag", &image.id, &reference.to_string());
    call.empty(StatusCode::CREATED).await
}

/// An event about an image.
pub(super) fn tell(d: &Daemon, action: &str, id: &ImageId, name: &str) {
    let labels = d.store.image(id).and_then(|i| i.config.config.as_ref().and_then(|c| c.labels.clone()));
    let mut all = attributes([("name", name)]);
    all.extend(labels.unwrap_or_default());
    d.events.tell("image", action, id.to_string(), all);
}

/// Which containers use an image.
pub(super) fn users(d: &Daemon, id: &ImageId) -> Vec<Usage> {
    let text = id.to_string();
    let all = d.containers.all().into_iter().filter(|c| c.record().image_id == text);
    all.map(|c| Usage { container: c.id.clone(), running: c.record().state.running }).collect()
}

pub(super) fn removed_json(removed: &[Removed]) -> Vec<Value> {
    removed
        .iter()
        .map(|r| match r {
            Removed::Untagged(name) => json!({ "Untagged": name }),
            Removed::Deleted(id) => json!({ "Deleted": id.to_string() }),
        })
        .collect()
}

pub(super) fn tell_removed(d: &Daemon, image: Option<&ImageId>, removed: &[Removed]) {
    for one in removed {
        match (one, image) {
            (Removed::Untagged(_), Some(id)) => tell(d, "untag", id, &id.to_string()),
            (Removed::Deleted(id), _) => {
                let text = id.to_string();
                // Layers are told with images; only images have been known by an id.
                if image.is_none_or(|i| i.to_string() == text) {
                    d.events.tell("image", "delete", &text, attributes([("name", &text)]));
                }
            }
            _ => {}
        }
    }
}

pub(super) async fn remove(d: &Arc<Daemon>, call: &mut Call<'_>, name: &str) -> Done {
    let (force, prune) = (call.query.flag("force"), !call.query.flag("noprune"));
    let id = d.store.lookup(name)?.id;
    let (daemon, name) = (d.clone(), name.to_owned());
    let removed = blocking(move || {
        let used = |id: &ImageId| users(&daemon, id);
        Ok(daemon.store.remove(&name, force, prune, &used)?)
    })
    .await?;
    tell_removed(d, Some(&id), &removed);
    call.ok_json(&removed_json(&removed)).await
}

pub(super) async fn prune(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.check(&["dangling", "label", "label!", "until"])?;
    let all = filters.flag("dangling")? == Some(false);
    let until = super::prune::until(&filters)?;
    let daemon = d.clone();
    let (removed, freed) = blocking(move || {
        let used = |id: &ImageId| users(&daemon, id);
        let wanted = |image: &Image| {
            let labels = image.config.config.as_ref().and_then(|c| c.labels.clone()).unwrap_or_default();
            filters.labels("label", &labels)
                && filters.not_labels("label!", &labels)
                && until.is_none_or(|u| created(image) < u / 1_000_000_000)
        };
        Ok(daemon.store.prune(all, &wanted, &used))
    })
    .await?;
    tell_removed(d, None, &removed);
    d.events.tell("image", "prune", "", attributes([("reclaimed", &freed.to_string())]));
    let shown = removed_json(&removed);
    let deleted = if shown.is_empty() { Value::Null } else { json!(shown) };
    call.ok_json(&json!({ "ImagesDeleted": deleted, "SpaceReclaimed": freed })).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_by_pattern() {
        assert!(reference_matches("busybox:latest", "busy*"));
        assert!(reference_matches("busybox:latest", "busybox"));
        assert!(reference_matches("a/b:1", "*/b:*"));
        assert!(!reference_matches("a/b:1", "*b:1"));
        assert!(!reference_matches("busybox:latest", "box"));
    }
}
