//! Volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Call, Done, Fail};
use crate::daemon::Daemon;
use crate::daemon::events::attributes;
use crate::daemon::filters::Filters;
use crate::daemon::volumes::Volume;

#[derive(Debug, Default, Deserialize)]
#[serde(rename(deserialize = "volume.CreateOptions"), rename_all = "PascalCase", default)]
struct Create {
    name: String,
    driver: String,
    driver_opts: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
}

pub(super) async fn create(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let body: Create = call.json().await?;
    if !matches!(body.driver.as_str(), "" | "local") {
        return Err(Fail::missing(format!(
            "create {}: error looking up volume plugin {}: plugin \"{1}\" not found",
            body.name, body.driver
        )));
    }
    if body.name.len() == 1 {
        return Err(Fail::bad(format!(
            "create {}: volume name is too short, names should be at least two alphanumeric characters",
            body.name
        )));
    }
    let wanted =
        Volume { name: body.name, labels: body.labels, options: body.driver_opts, ..Volume::default() };
    let (volume, new) = d.volumes.create(wanted).map_err(crate::daemon::error::Refusal::from)?;
    if new {
        d.events.tell("volume", "create", &volume.name, attributes([("driver", "local")]));
    }
    call.reply_json(StatusCode::CREATED, &volume.json(d.volumes.root())).await
}

pub(super) async fn list(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.check(&["dangling", "driver", "label", "name"])?;
    let dangling = filters.flag("dangling")?;
    let chosen: Vec<Value> = d
        .volumes
        .list()
        .into_iter()
        .filter(|v| {
            let labels = v.labels.clone().unwrap_or_default();
            dangling.is_none_or(|wanted| d.users_of_volume(&v.name).is_empty() == wanted)
                && filters.any("driver", |x| x == "local")
                && filters.any("name", |x| v.name.contains(x))
                && filters.labels("label", &labels)
        })
        .map(|v| v.json(d.volumes.root()))
        .collect();
    call.ok_json(&json!({ "Volumes": chosen, "Warnings": null })).await
}

pub(super) async fn inspect(d: &Arc<Daemon>, call: &mut Call<'_>, name: &str) -> Done {
    let volume = d.volumes.get(name).ok_or_else(|| Fail::missing(format!("get {name}: no such volume")))?;
    call.ok_json(&volume.json(d.volumes.root())).await
}

pub(super) async fn remove(d: &Arc<Daemon>, call: &mut Call<'_>, name: &str) -> Done {
    let force = call.query.flag("force");
    let users = d.users_of_volume(name);
    if !users.is_empty() {
        return Err(Fail::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
    }
    match d.volumes.remove(name) {
        Ok(()) => d.tell_volume_destroyed(name),
        Err(crate::daemon::volumes::VolumeError::Missing(_)) if force => {}
        Err(error) => return Err(crate::daemon::error::Refusal::from(error).into()),
    }
    call.empty(StatusCode::NO_CONTENT).await
}

pub(super) async fn prune(d: &Arc<Daemon>, call: &mut Call<'_>) -> Done {
    let filters = Filters::parse(call.query.text("filters"))?;
    filters.check(&["all", "label", "label!"])?;
    let all = filters.flag("all")?.unwrap_or(false) || !call.at_least(42);
    let d = d.clone();
    let pruned = tokio::task::spawn_blocking(move || {
        let (mut gone, mut freed) = (Vec::new(), 0);
        for volume in d.volumes.list() {
            let labels = volume.labels.clone().unwrap_or_default();
            let wanted = (all || volume.anonymous)
                && filters.labels("label", &labels)
                && filters.not_labels("label!", &labels);
            if !wanted || !d.users_of_volume(&volume.name).is_empty() {
                continue;
            }
            let size = crate::daemon::usage::folder_size(&d.volumes.data_dir(&volume.name));
            if d.volumes.remove(&volume.name).is_ok() {
                d.tell_volume_destroyed(&volume.name);
                freed += size;
                gone.push(volume.name);
            }
        }
        d.events.tell("volume", "prune", "", attributes([("reclaimed", &freed.to_string())]));
        json!({ "VolumesDeleted": gone, "SpaceReclaimed": freed })
    });
    let body = pruned.await.map_err(|e| Fail::internal(e.to_string()))?;
    call.reply_json(StatusCode::OK, &body).await
}
