//! Tables of things: ps, images, history, network ls, volume ls.

use quiet_stdout::say;
use serde_json::{Map, Value, json};

use crate::flags::Options;
use crate::format::{Headers, Row, asked, rows};
use crate::http::{Body, Client, Failure, escape};
use crate::ports;
use crate::words::{ago, date, ellipsis, labels, short_id, size, text, unix};

/// `-f key=value` as the engine takes filters.
pub(crate) fn filters(options: &Options<'_>, name: &str, more: &[(&str, String)]) -> Result<String, Failure> {
    let mut map: Map<String, Value> = Map::new();
    let mut put = |key: &str, value: &str| {
        let entry = map.entry(key.trim().to_lowercase()).or_insert_with(|| json!({}));
        if let Value::Object(values) = entry {
            values.insert(value.to_owned(), true.into());
        }
    };
    for given in options.many(name) {
        let (key, value) = given
            .split_once('=')
            .ok_or_else(|| options.wrong(name, &given, "bad format of filter (expected name=value)"))?;
        put(key, value.trim());
    }
    more.iter().for_each(|(key, value)| put(key, value));
    Ok(escape(&Value::Object(map).to_string()))
}

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

const CONTAINERS: Headers = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("State", "STATE"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
];

pub(crate) fn containers(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let format = asked(options)?;
    let with_size = options.is_set("size")? || format.contains(".Size");
    let last = if options.is_set("latest")? { Some(1) } else { options.number("last")? };
    let mut path = format!(
        "/containers/json?all={}&size={with_size}&filters={}",
        options.is_set("all")?,
        filters(options, "filter", &[])?
    );
    if let Some(last) = last.filter(|n| *n > 0) {
        path.push_str(&format!("&limit={last}"));
    }
    let whole = options.is_set("no-trunc")?;
    let list = array(client.json("GET", &path, Body::None)?);
    if options.is_set("quiet")? {
        let id = |c: &Value| if whole { text(&c["Id"]) } else { short_id(&text(&c["Id"])) };
        list.iter().for_each(|c| say!("{}", id(c)));
        return Ok(0);
    }
    let shown: Vec<Row> = list.iter().map(|c| container(c, whole)).collect();
    let mut columns =
        "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}".to_owned();
    if options.is_set("size")? {
        columns.push_str("\t{{.Size}}");
    }
    rows(&shown, &format, &columns, CONTAINERS)?;
    Ok(0)
}

pub(crate) fn container(c: &Value, whole: bool) -> Row {
    let cut = |text: String, most: usize| if whole { text } else { ellipsis(&text, most) };
    let id = text(&c["Id"]);
    let image = match text(&c["Image"]) {
        image if image.is_empty() => "<no image>".to_owned(),
        image if !whole && short_id(&image) == short_id(&text(&c["ImageID"])) => short_id(&image),
        image => image,
    };
    let names =
        c["Names"].as_array().into_iter().flatten().map(|n| text(n).trim_start_matches('/').to_owned());
    // Names of links have a slash.
    let names: Vec<String> = names.filter(|name| whole || !name.contains('/')).collect();
    let mounts = c["Mounts"].as_array().into_iter().flatten().map(|m| match text(&m["Name"]) {
        name if name.is_empty() => text(&m["Source"]),
        name => name,
    });
    let local = c["Mounts"].as_array().into_iter().flatten().filter(|m| m["Driver"] == "local").count();
    let networks = c["NetworkSettings"]["Networks"].as_object().into_iter().flatten();
    let (own, all) = (c["SizeRw"].as_i64().unwrap_or(0), c["SizeRootFs"].as_i64().unwrap_or(0));
    let size = if all > 0 { format!("{} (virtual {})", size(own), size(all)) } else { size(own) };
    let created = c["Created"].as_i64().unwrap_or(0);
    let fields = json!({
        "ID": if whole { id } else { short_id(&id) },
        "Image": image,
        "Command": quoted(&cut(text(&c["Command"]), 20)),
        "CreatedAt": date(created),
        "RunningFor": ago(created),
        "Ports": ports::shown(c["Ports"].as_array().map_or(&[], Vec::as_slice)),
        "State": text(&c["State"]),
        "Status": text(&c["Status"]),
        "Size": size,
        "Names": names.join(","),
        "Labels": labels(&c["Labels"]),
        "Mounts": mounts.map(|m| cut(m, 15)).collect::<Vec<_>>().join(","),
        "LocalVolumes": local.to_string(),
        "Networks": networks.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(","),
    });
    Row { fields, labels: c["Labels"].clone() }
}

/// As Go quotes text.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

const IMAGES: Headers = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

pub(crate) fn images(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let format = asked(options)?;
    let reference: Vec<(&str, String)> = options.args().into_iter().map(|name| ("reference", name)).collect();
    let filters = filters(options, "filter", &reference)?;
    let path = format!("/images/json?all={}&filters={filters}", options.is_set("all")?);
    let whole = options.is_set("no-trunc")?;
    let list = array(client.json("GET", &path, Body::None)?);
    let id = |image: &Value| if whole { text(&image["Id"]) } else { short_id(&text(&image["Id"])) };
    let with_digests = options.is_set("digests")?;
    let mut shown = Vec::new();
    for image in &list {
        for (repository, tag, digest) in names(image, with_digests) {
            if options.is_set("quiet")? {
                say!("{}", id(image));
                continue;
            }
            let created = image["Created"].as_i64().unwrap_or(0);
            let bytes = size(image["Size"].as_i64().unwrap_or(0));
            let fields = json!({
                "ID": id(image), "Repository": repository, "Tag": tag, "Digest": digest,
                "CreatedSince": ago(created), "CreatedAt": date(created), "Size": bytes, "VirtualSize": bytes,
                "Containers": "N/A", "SharedSize": "N/A", "UniqueSize": "N/A",
            });
            shown.push(Row { fields, labels: image["Labels"].clone() });
        }
    }
    if options.is_set("quiet")? {
        return Ok(0);
    }
    let columns = match with_digests {
        true => "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
        false => "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    };
    rows(&shown, &format, columns, IMAGES)?;
    Ok(0)
}

/// Repository, tag and digest: a row for each tag, or for each digest where tags have none.
fn names(image: &Value, with_digests: bool) -> Vec<(String, String, String)> {
    const NONE: &str = "<none>";
    let list = |key: &str| -> Vec<String> { image[key].as_array().into_iter().flatten().map(text).collect() };
    let digests: Vec<(String, String)> = list("RepoDigests")
        .iter()
        .filter_map(|digest| digest.split_once('@'))
        .map(|(repository, digest)| (repository.to_owned(), digest.to_owned()))
        .collect();
    let tags: Vec<(String, String)> = list("RepoTags")
        .iter()
        .filter_map(|tag| tag.rsplit_once(':'))
        .map(|(repository, tag)| (repository.to_owned(), tag.to_owned()))
        .collect();
    let mut names = Vec::new();
    for (repository, tag) in &tags {
        let of = digests.iter().find(|(known, _)| known == repository).map(|(_, digest)| digest.clone());
        let digest = of.filter(|_| with_digests).unwrap_or_else(|| NONE.into());
        names.push((repository.clone(), tag.clone(), digest));
    }
    if tags.is_empty() {
        for (repository, digest) in digests {
            names.push((repository, NONE.into(), if with_digests { digest } else { NONE.into() }));
        }
    }
    if names.is_empty() {
        names.push((NONE.into(), NONE.into(), NONE.into()));
    }
    names
}

const HISTORY: Headers = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];

pub(crate) fn history(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let format = asked(options)?;
    let list = client.json("GET", &format!("/images/{}/history", escape(&options.arg(0))), Body::None)?;
    let whole = options.is_set("no-trunc")?;
    let mut shown = Vec::new();
    for step in array(list) {
        let id = text(&step["Id"]);
        let id = if whole { id } else { short_id(&id) };
        if options.is_set("quiet")? {
            say!("{id}");
            continue;
        }
        let by = text(&step["CreatedBy"]).replace('\t', " ");
        let created = step["Created"].as_i64().unwrap_or(0);
        let fields = json!({
            "ID": id, "CreatedSince": ago(created), "CreatedAt": date(created),
            "CreatedBy": if whole { by } else { ellipsis(&by, 45) },
            "Size": size(step["Size"].as_i64().unwrap_or(0)), "Comment": text(&step["Comment"]),
        });
        shown.push(Row { fields, labels: Value::Null });
    }
    if options.is_set("quiet")? {
        return Ok(0);
    }
    let columns = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
    rows(&shown, &format, columns, HISTORY)?;
    Ok(0)
}

const NETWORKS: Headers = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

pub(crate) fn networks(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let format = asked(options)?;
    let path = format!("/networks?filters={}", filters(options, "filter", &[])?);
    let mut list = array(client.json("GET", &path, Body::None)?);
    list.sort_by_key(|network| text(&network["Name"]));
    let whole = options.is_set("no-trunc")?;
    let id = |network: &Value| if whole { text(&network["Id"]) } else { short_id(&text(&network["Id"])) };
    if options.is_set("quiet")? {
        list.iter().for_each(|network| say!("{}", id(network)));
        return Ok(0);
    }
    let row = |network: &Value| Row {
        fields: json!({
            "ID": id(network), "Name": text(&network["Name"]), "Driver": text(&network["Driver"]),
            "Scope": text(&network["Scope"]), "IPv6": (network["EnableIPv6"] == true).to_string(),
            "Internal": (network["Internal"] == true).to_string(), "Labels": labels(&network["Labels"]),
            "CreatedAt": date(unix(&text(&network["Created"]))),
        }),
        labels: network["Labels"].clone(),
    };
    let shown: Vec<Row> = list.iter().map(row).collect();
    rows(&shown, &format, "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}", NETWORKS)?;
    Ok(0)
}

const VOLUMES: Headers = &[
    ("Driver", "DRIVER"),
    ("Name", "VOLUME NAME"),
    ("Scope", "SCOPE"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Availability", "AVAILABILITY"),
    ("Group", "GROUP"),
    ("Status", "STATUS"),
];

pub(crate) fn volumes(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let format = asked(options)?;
    let path = format!("/volumes?filters={}", filters(options, "filter", &[])?);
    let mut list = array(client.json("GET", &path, Body::None)?["Volumes"].take());
    list.sort_by_key(|volume| text(&volume["Name"]));
    if options.is_set("quiet")? {
        list.iter().for_each(|volume| say!("{}", text(&volume["Name"])));
        return Ok(0);
    }
    let shown: Vec<Row> = list.iter().map(volume).collect();
    rows(&shown, &format, "{{.Driver}}\t{{.Name}}", VOLUMES)?;
    Ok(0)
}

pub(crate) fn volume(volume: &Value) -> Row {
    let field = |key: &str| text(&volume[key]);
    let fields = json!({
        "Driver": field("Driver"), "Name": field("Name"), "Scope": field("Scope"),
        "Mountpoint": field("Mountpoint"), "Labels": labels(&volume["Labels"]), "Links": "N/A", "Size": "N/A",
        "Availability": "N/A", "Group": "N/A", "Status": "N/A",
    });
    Row { fields, labels: volume["Labels"].clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_in_a_row() {
        let row = container(
            &json!({
                "Id": "0123456789abcdef", "Names": ["/web", "/other/alias"], "Image": "sha256:aaaabbbbccccdddd",
                "ImageID": "sha256:aaaabbbbccccdddd", "Command": "sh -c 'echo \"a long command\"'",
                "Labels": {"b": "2", "a": "1"}, "Mounts": [{"Name": "", "Source": "/a/rather/long/path"}],
            }),
            false,
        );
        let field = |name: &str| text(&row.fields[name]);
        assert_eq!(field("ID"), "0123456789ab");
        assert_eq!(field("Names"), "web");
        assert_eq!(field("Image"), "aaaabbbbcccc");
        assert_eq!(field("Command"), "\"sh -c 'echo \\\"a long…\"");
        assert_eq!(field("Labels"), "a=1,b=2");
        assert_eq!(field("Mounts"), "/a/rather/long…");
    }

    #[test]
    fn an_image_without_tags_has_a_row() {
        let none = || "<none>".to_owned();
        assert_eq!(names(&json!({}), false), [(none(), none(), none())]);
        let image = json!({"RepoTags": ["h:5000/a:1", "b:2"], "RepoDigests": ["b@sha256:x"]});
        let shown = names(&image, true);
        assert_eq!(shown[0], ("h:5000/a".into(), "1".into(), none()));
        assert_eq!(shown[1], ("b".into(), "2".into(), "sha256:x".into()));
    }
}
