//! `docker system df` and the prunes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::call::{Call, Done, Fail};
use crate::clock::{self, Nanos};
use crate::daemon::Daemon;
use crate::daemon::events::attributes;
use crate::daemon::filters::Filters;

/// The moment the filter `until` means: a time, or a span back from now.
pub(super) fn until(filters: &Filters) -> Result<Option<Nanos>, Fail> {
    let mut values = filters.values("until");
    let Some(text) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Fail::bad("more than one until filter specified"));
    }
    if let Some(at) = clock::parse_unix(text) {
        return Ok(Some(at));
    }
    let span = clock::parse_span(text)
        .ok_or_else(|| Fail::bad(format!("failed to parse value as time or duration: {text:?}")))?;
    Ok(Some(clock::now() - span))
}

pub(super) async fn containers(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.check(&["label", "label!", "until"])?;
    let until = until(&filters)?;
    let (mut gone, mut freed) = (Vec::new(), 0);
    for container in d.containers.all() {
        let record = container.record().clone();
        let labels = record.config.labels.clone().unwrap_or_default();
        let wanted = !record.state.running
            && until.is_none_or(|u| record.created < u)
            && filters.labels("label", &labels)
            && filters.not_labels("label!", &labels);
        if !wanted {
            continue;
        }
        let (sizing, sized) = (d.clone(), record.clone());
        let size = super::images::blocking(move || sizing.sizes(&sized)).await.map_or(0, |s| s.0);
        if d.remove(&container, false, false).await.is_ok() {
            freed += size;
            gone.push(record.id);
        }
    }
    d.events.tell("container", "prune", "", attributes([("reclaimed", &freed.to_string())]));
    let deleted = if gone.is_empty() { Value::Null } else { json!(gone) };
    call.ok_json(&json!({ "ContainersDeleted": deleted, "SpaceReclaimed": freed })).await
}

pub(super) async fn df(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    const TYPES: [&str; 4] = ["container", "image", "volume", "build-cache"];
    let asked: Vec<String> = call.query.all("type").map(str::to_owned).collect();
    let wanted = if call.at_least(42) { asked } else { Vec::new() };
    if let Some(unknown) = wanted.iter().find(|t| !TYPES.contains(&t.as_str())) {
        return Err(Fail::bad(format!("unknown object type: {unknown}")));
    }
    let (daemon, legacy) = (d.clone(), !call.at_least(44));
    let mut body = super::images::blocking(move || disk_usage(&daemon, legacy)).await?;
    if !wanted.is_empty() {
        for (kind, key) in TYPES.into_iter().zip(["Containers", "Images", "Volumes", "BuildCache"]) {
            if !wanted.iter().any(|w| w == kind) {
                body[key] = Value::Null;
            }
        }
        if !wanted.iter().any(|w| w == "image") {
            body["LayersSize"] = 0.into();
        }
    }
    call.ok_json(&body).await
}

fn disk_usage(d: &Arc<Daemon>, legacy: bool) -> Result<Value, crate::daemon::error::Refusal> {
    let mut layers = std::collections::BTreeMap::new();
    let mut images = Vec::new();
    for image in d.store.images() {
        let tags = d.store.tags_of(&image.id);
        if tags.is_empty() && !d.store.children(&image.id).is_empty() {
            continue;
        }
        for layer in image.config.rootfs.diff_ids.iter().filter_map(|l| d.store.layer(l)) {
            layers.insert(layer.diff_id, layer.size);
        }
        let users = super::images::users(d, &image.id).len();
        let mut line = json!({
            "Containers": users,
            "Created": engine_image::config::unix_seconds(&image.config.created),
            "Id": image.id.to_string(),
            "Labels": image.config.config.as_ref().and_then(|c| c.labels.clone()),
            "ParentId": image.parent.map(|p| p.to_string()).unwrap_or_default(),
            "RepoDigests": d.store.digests_of(&image.id),
            "RepoTags": tags,
            "SharedSize": 0,
            "Size": image.size,
        });
        if legacy {
            line["VirtualSize"] = image.size.into();
        }
        images.push(line);
    }
    let containers =
        d.list(crate::daemon::list::ListOptions { all: true, size: true, ..Default::default() })?;
    let volumes: Vec<Value> = d
        .volumes
        .list()
        .into_iter()
        .map(|v| {
            let mut line = v.json(d.volumes.root());
            let size = crate::daemon::usage::folder_size(&d.volumes.data_dir(&v.name));
            line["UsageData"] = json!({ "RefCount": d.users_of_volume(&v.name).len(), "Size": size });
            line
        })
        .collect();
    Ok(json!({
        "LayersSize": layers.values().sum::<u64>(),
        "Images": images,
        "Containers": containers,
        "Volumes": volumes,
        "BuildCache": [],
        "BuilderSize": 0,
    }))
}
