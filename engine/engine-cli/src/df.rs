//! `system df`: what takes room on the disk, in sums or one by one.

use quiet_stdout::{put, say};
use serde_json::{Value, json};

use crate::flags::Options;
use crate::format::{self, Headers, Row, aligned, asked, rows};
use crate::http::{Body, Client, Failure};
use crate::lists;
use crate::words::{ago, date, short_id, size, text, whole_size};

pub(crate) fn df(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let format = asked(options)?;
    let used = client.json("GET", "/system/df", Body::None)?;
    if options.is_set("verbose")? {
        one_by_one(&used, &format)?;
    } else {
        let sums = [images(&used), containers(&used), volumes(&used), builds(&used)].map(Sum::row);
        let columns = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
        rows(&sums, &format, columns, SUMS)?;
    }
    Ok(0)
}

const SUMS: Headers = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

/// All things of a kind.
struct Sum {
    kind: &'static str,
    total: usize,
    active: usize,
    size: i64,
    reclaimable: i64,
    /// Whether the part that could be had back is told, too.
    with_share: bool,
}

impl Sum {
    fn row(self) -> Row {
        let reclaimable = whole_size(self.reclaimable);
        let share = (self.reclaimable * 100).checked_div(self.size).filter(|_| self.with_share);
        Row {
            fields: json!({
                "Type": self.kind, "TotalCount": self.total.to_string(), "Active": self.active.to_string(),
                "Size": whole_size(self.size),
                "Reclaimable": share.map_or(reclaimable.clone(), |share| format!("{reclaimable} ({share}%)")),
            }),
            labels: Value::Null,
        }
    }
}

fn all<'a>(used: &'a Value, key: &str) -> &'a [Value] {
    used[key].as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn images(used: &Value) -> Sum {
    let all = all(used, "Images");
    let active = || all.iter().filter(|image| number(&image["Containers"]) != 0);
    let known = active().filter(|image| image["Size"] != -1 && image["SharedSize"] != -1);
    let needed: i64 = known.map(|image| number(&image["Size"]) - number(&image["SharedSize"])).sum();
    let size = number(&used["LayersSize"]);
    Sum {
        kind: "Images",
        total: all.len(),
        active: active().count(),
        size,
        reclaimable: size - needed,
        with_share: true,
    }
}

fn containers(used: &Value) -> Sum {
    let is_active = |one: &Value| matches!(one["State"].as_str(), Some("running" | "paused" | "restarting"));
    each("Containers", all(used, "Containers"), is_active, |one| number(&one["SizeRw"]))
}

fn volumes(used: &Value) -> Sum {
    let is_active = |one: &Value| number(&one["UsageData"]["RefCount"]) > 0;
    // -1 is a size that is not known.
    let size = |one: &Value| number(&one["UsageData"]["Size"]).max(0);
    each("Local Volumes", all(used, "Volumes"), is_active, size)
}

/// Of things that share nothing: what is not active can be had back.
fn each(
    kind: &'static str,
    all: &[Value],
    is_active: impl Fn(&Value) -> bool,
    size: impl Fn(&Value) -> i64,
) -> Sum {
    Sum {
        kind,
        total: all.len(),
        active: all.iter().filter(|one| is_active(one)).count(),
        size: all.iter().map(&size).sum(),
        reclaimable: all.iter().filter(|one| !is_active(one)).map(&size).sum(),
        with_share: true,
    }
}

fn builds(used: &Value) -> Sum {
    let all = all(used, "BuildCache");
    let is_active = |one: &&Value| one["InUse"] == true;
    let own = all.iter().filter(|one| one["Shared"] != true);
    Sum {
        kind: "Build Cache",
        total: all.len(),
        active: all.iter().filter(is_active).count(),
        size: number(&used["BuilderSize"]),
        reclaimable: own.filter(|one| !is_active(one)).map(|one| number(&one["Size"])).sum(),
        with_share: false,
    }
}

const IMAGES: Headers = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
];
const CONTAINERS: Headers = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Size", "SIZE"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Names", "NAMES"),
];
const VOLUMES: Headers = &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")];
/// The engine keeps what it builds as images, so nothing is listed below these.
const BUILDS: [&str; 7] = ["CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"];

fn one_by_one(used: &Value, format: &str) -> Result<(), Failure> {
    let is_table = format.is_empty() || format == "table";
    let of =
        |key: &str, row: &dyn Fn(&Value) -> Row| -> Vec<Row> { all(used, key).iter().map(row).collect() };
    let images = of("Images", &|one| image(one, is_table));
    let containers = of("Containers", &|one| container(one, is_table));
    let volumes = of("Volumes", &volume);
    if !is_table {
        let fields = |rows: Vec<Row>| rows.into_iter().map(|row| row.fields).collect::<Value>();
        let whole = json!({
            "Images": fields(images), "Containers": fields(containers), "Volumes": fields(volumes),
            "BuildCache": [],
        });
        put!("{}", format::filled(&whole, format)?);
        return Ok(());
    }
    say!("Images space usage:\n");
    rows(&images, "", &columns(IMAGES), IMAGES)?;
    say!("\nContainers space usage:\n");
    rows(&containers, "", &columns(CONTAINERS), CONTAINERS)?;
    say!("\nLocal Volumes space usage:\n");
    rows(&volumes, "", &columns(VOLUMES), VOLUMES)?;
    say!("\nBuild cache usage: {}\n", whole_size(number(&used["BuilderSize"])));
    put!("{}", aligned(&[BUILDS.map(str::to_owned).to_vec()], 10));
    Ok(())
}

/// The fields in the order of their headers.
fn columns(headers: Headers) -> String {
    headers.iter().map(|(field, _)| format!("{{{{.{field}}}}}")).collect::<Vec<_>>().join("\t")
}

fn image(image: &Value, short: bool) -> Row {
    // Of several names the first is shown.
    let name = image["RepoTags"].as_array().and_then(|tags| tags.first()).map(text).unwrap_or_default();
    let (repository, tag) = name.rsplit_once(':').unwrap_or(("<none>", "<none>"));
    let (bytes, shared) = (number(&image["Size"]), number(&image["SharedSize"]));
    let created = number(&image["Created"]);
    let id = text(&image["Id"]);
    let fields = json!({
        "Repository": repository, "Tag": tag, "Digest": "", "ID": if short { short_id(&id) } else { id },
        "CreatedSince": ago(created), "CreatedAt": date(created), "Size": size(bytes),
        "SharedSize": whole_size(shared), "UniqueSize": whole_size(bytes - shared),
        "VirtualSize": whole_size(bytes), "Containers": number(&image["Containers"]).to_string(),
    });
    Row { fields, labels: image["Labels"].clone() }
}

fn container(container: &Value, short: bool) -> Row {
    let mut own = container.clone();
    // What it shares with its image is counted there.
    own["SizeRootFs"] = 0.into();
    let mut row = lists::container(&own, !short);
    if !short {
        row.fields["Platform"] = Value::Null;
    }
    row
}

fn volume(volume: &Value) -> Row {
    let mut row = lists::volume(volume);
    row.fields["Links"] = number(&volume["UsageData"]["RefCount"]).to_string().into();
    row.fields["Size"] = whole_size(number(&volume["UsageData"]["Size"])).into();
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_tell_what_could_be_had_back() {
        let used = json!({
            "LayersSize": 2_684_000,
            "Images": [
                {"Size": 2_684_000, "SharedSize": 1_984_000, "Containers": 1},
                {"Size": 1_984_000, "SharedSize": 1_984_000, "Containers": 0},
            ],
            "Containers": [{"State": "running", "SizeRw": 250_000}, {"State": "exited", "SizeRw": 750_000}],
            "Volumes": [{"UsageData": {"RefCount": 0, "Size": -1}}],
        });
        let shown = |sum: Sum| {
            let row = sum.row();
            ["TotalCount", "Active", "Size", "Reclaimable"].map(|key| text(&row.fields[key])).join(" ")
        };
        assert_eq!(shown(images(&used)), "2 1 2.684MB 1.984MB (73%)");
        assert_eq!(shown(containers(&used)), "2 1 1MB 750kB (75%)");
        assert_eq!(shown(volumes(&used)), "1 0 0B 0B");
        assert_eq!(shown(builds(&used)), "0 0 0B 0B");
    }
}
