//! `prune`: what nobody uses is removed, once that is confirmed.

use quiet_stdout::{put, say};
use serde_json::Value;

use crate::flags::Options;
use crate::http::{Body, Client, Failure};
use crate::lists::filters;
use crate::words::{text, whole_size};

/// What is removed of one kind of things.
struct Kind {
    /// Of the path `/KIND/prune`.
    path: &'static str,
    /// Above the list of what is gone.
    title: &'static str,
    /// Where the answer lists it.
    key: &'static str,
}

const CONTAINERS: Kind = Kind { path: "containers", title: "Containers", key: "ContainersDeleted" };
const NETWORKS: Kind = Kind { path: "networks", title: "Networks", key: "NetworksDeleted" };
const VOLUMES: Kind = Kind { path: "volumes", title: "Volumes", key: "VolumesDeleted" };
const IMAGES: Kind = Kind { path: "images", title: "Images", key: "ImagesDeleted" };
const BUILDS: Kind = Kind { path: "build", title: "build cache objects", key: "CachesDeleted" };

/// Removes, lists what is gone, and tells how many bytes that freed.
fn remove(client: &Client, kind: &Kind, filters: &str) -> Result<i64, Failure> {
    let done = client.json("POST", &format!("/{}/prune?filters={filters}", kind.path), Body::None)?;
    let gone = done[kind.key].as_array().map_or(&[][..], Vec::as_slice);
    if !gone.is_empty() {
        say!("Deleted {}:", kind.title);
        gone.iter().for_each(|one| say!("{}", line(one)));
        say!();
    }
    Ok(done["SpaceReclaimed"].as_i64().unwrap_or(0))
}

/// An id or a name; of an image, what happened to it.
fn line(gone: &Value) -> String {
    match (gone["Untagged"].as_str(), gone["Deleted"].as_str()) {
        (Some(name), _) => format!("untagged: {name}"),
        (None, Some(id)) => format!("deleted: {id}"),
        (None, None) => text(gone),
    }
}

/// Whether `--force` was given, or a person says yes to the warning.
fn confirmed(options: &Options<'_>, warning: &str) -> Result<bool, Failure> {
    if options.is_set("force")? {
        return Ok(true);
    }
    put!("WARNING! {warning}\nAre you sure you want to continue? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}

/// One kind after a warning, and what it freed.
fn prune(
    client: &Client,
    options: &Options<'_>,
    kind: &Kind,
    more: &[(&str, String)],
    warning: &str,
) -> Result<u8, Failure> {
    let filters = filters(options, "filter", more)?;
    if confirmed(options, warning)? {
        let freed = remove(client, kind, &filters)?;
        // Networks take no room.
        if kind.path != NETWORKS.path {
            say!("Total reclaimed space: {}", whole_size(freed));
        }
    }
    Ok(0)
}

pub(crate) fn containers(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    prune(client, options, &CONTAINERS, &[], "This will remove all stopped containers.")
}

pub(crate) fn networks(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let warning = "This will remove all custom networks not used by at least one container.";
    prune(client, options, &NETWORKS, &[], warning)
}

/// In the version of the API that this client speaks, volumes with names go, too.
pub(crate) fn volumes(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    if options.is_set("all")? {
        let text = "\"--all\" requires API version 1.42, but the Docker daemon API version is 1.41";
        return Err(Failure::Usage(text.into()));
    }
    let warning = "This will remove all local volumes not used by at least one container.";
    prune(client, options, &VOLUMES, &[], warning)
}

pub(crate) fn images(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let all = options.is_set("all")?;
    let warning = match all {
        true => "This will remove all images without at least one container associated to them.",
        false => "This will remove all dangling images.",
    };
    prune(client, options, &IMAGES, &[dangling(all)], warning)
}

fn dangling(all: bool) -> (&'static str, String) {
    ("dangling", (!all).to_string())
}

/// Everything, volumes only when they are asked for.
pub(crate) fn system(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let (all, with_volumes) = (options.is_set("all")?, options.is_set("volumes")?);
    let given = options.many("filter");
    if with_volumes && given.iter().any(|filter| filter.starts_with("until=")) {
        let text = "ERROR: The \"until\" filter is not supported with \"--volumes\"";
        return Err(Failure::Usage(text.into()));
    }
    let plain = filters(options, "filter", &[])?;
    let of_images = filters(options, "filter", &[dangling(all)])?;
    if !confirmed(options, &everything(all, with_volumes, given))? {
        return Ok(0);
    }
    let mut freed = remove(client, &CONTAINERS, &plain)?;
    freed += remove(client, &NETWORKS, &plain)?;
    if with_volumes {
        freed += remove(client, &VOLUMES, &plain)?;
    }
    freed += remove(client, &IMAGES, &of_images)?;
    freed += remove(client, &BUILDS, &plain)?;
    say!("Total reclaimed space: {}", whole_size(freed));
    Ok(0)
}

/// What would go, as the warning lists it.
fn everything(all: bool, volumes: bool, mut filters: Vec<String>) -> String {
    let mut list = vec!["all stopped containers", "all networks not used by at least one container"];
    if volumes {
        list.push("all anonymous volumes not used by at least one container");
    }
    list.extend(match all {
        true => ["all images without at least one container associated to them", "all build cache"],
        false => ["all dangling images", "unused build cache"],
    });
    let mut warning = "This will remove:\n".to_owned();
    list.iter().for_each(|what| warning.push_str(&format!("  - {what}\n")));
    if !filters.is_empty() {
        filters.sort();
        warning.push_str("\n  Items to be pruned will be filtered with:\n");
        filters.iter().for_each(|filter| warning.push_str(&format!("  - {filter}\n")));
    }
    warning
}
