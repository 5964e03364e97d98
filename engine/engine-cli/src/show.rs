//! What is shown in tables and as JSON: ps, images, inspect, version, info, rmi.

use clap::ArgMatches;
use serde_json::Value;

use crate::http::{Body, Client, Failure, escape};

/// Prints rows in columns as wide as their widest cell, three spaces apart.
fn table(rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |c: usize| rows.iter().map(|r| r[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
        println!("{}", cells.join("   ").trim_end());
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn short(id: &Value) -> String {
    let id = id.as_str().unwrap_or_default();
    id.trim_start_matches("sha256:").chars().take(12).collect()
}

fn ago(created: &Value) -> String {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let age = now.saturating_sub(created.as_u64().unwrap_or(now));
    let span = match age {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{age} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{} minutes", age / 60),
        3600..7200 => "About an hour".to_owned(),
        7200..172_800 => format!("{} hours", age / 3600),
        _ => format!("{} days", age / 86_400),
    };
    format!("{span} ago")
}

pub(crate) fn ps(client: &Client, options: &ArgMatches) -> Result<(), Failure> {
    let all = options.get_flag("all");
    let list = client.json("GET", &format!("/containers/json?all={all}"), Body::None)?;
    let list = list.as_array().cloned().unwrap_or_default();
    if options.get_flag("quiet") {
        list.iter().for_each(|c| println!("{}", short(&c["Id"])));
        return Ok(());
    }
    let mut rows = vec![
        ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for c in &list {
        let command: String = text(&c["Command"]).chars().take(19).collect();
        let command = if text(&c["Command"]).chars().count() > 20 {
            format!("{command}…")
        } else {
            text(&c["Command"])
        };
        let names: Vec<String> = c["Names"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|n| text(n).trim_start_matches('/').to_owned())
            .collect();
        let ports: Vec<String> = c["Ports"].as_array().into_iter().flatten().map(port).collect();
        rows.push(vec![
            short(&c["Id"]),
            text(&c["Image"]),
            format!("\"{command}\""),
            ago(&c["Created"]),
            text(&c["Status"]),
            ports.join(", "),
            names.join(","),
        ]);
    }
    table(&rows);
    Ok(())
}

fn port(port: &Value) -> String {
    let inner = format!("{}/{}", port["PrivatePort"], text(&port["Type"]));
    match port["PublicPort"].as_u64() {
        Some(public) => format!("{}:{public}->{inner}", text(&port["IP"])),
        None => inner,
    }
}

pub(crate) fn images(client: &Client, options: &ArgMatches) -> Result<(), Failure> {
    let list = client.json("GET", "/images/json", Body::None)?;
    let list = list.as_array().cloned().unwrap_or_default();
    if options.get_flag("quiet") {
        list.iter().for_each(|i| println!("{}", short(&i["Id"])));
        return Ok(());
    }
    let mut rows = vec![["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"].map(str::to_owned).to_vec()];
    for image in &list {
        let tags: Vec<String> = image["RepoTags"].as_array().into_iter().flatten().map(text).collect();
        for tag in if tags.is_empty() { vec!["<none>:<none>".to_owned()] } else { tags } {
            let (repository, tag) = tag.rsplit_once(':').unwrap_or((&tag, "<none>"));
            rows.push(vec![
                repository.to_owned(),
                tag.to_owned(),
                short(&image["Id"]),
                ago(&image["Created"]),
                engine_api::size::with_precision(image["Size"].as_u64().unwrap_or(0), 3),
            ]);
        }
    }
    table(&rows);
    Ok(())
}

pub(crate) fn inspect(client: &Client, options: &ArgMatches) -> Result<u8, Failure> {
    let (mut found, mut code) = (Vec::new(), 0);
    for name in options.get_many::<String>("name").into_iter().flatten() {
        let escaped = escape(name);
        let container = client.json("GET", &format!("/containers/{escaped}/json"), Body::None);
        match container.or_else(|_| client.json("GET", &format!("/images/{escaped}/json"), Body::None)) {
            Ok(value) => found.push(value),
            Err(Failure::Refused(_)) => {
                eprintln!("Error: No such object: {name}");
                code = 1;
            }
            Err(failure) => return Err(failure),
        }
    }
    println!("{}", serde_json::to_string_pretty(&Value::Array(found)).unwrap_or_default());
    Ok(code)
}

pub(crate) fn rmi(client: &Client, options: &ArgMatches) -> Result<u8, Failure> {
    let force = options.get_flag("force");
    crate::each(options, |name| {
        let removed =
            client.json("DELETE", &format!("/images/{}?force={force}", escape(name)), Body::None)?;
        for one in removed.as_array().into_iter().flatten() {
            for key in ["Untagged", "Deleted"] {
                if let Some(what) = one[key].as_str() {
                    println!("{key}: {what}");
                }
            }
        }
        Ok(())
    })
}

pub(crate) fn version(client: &Client) -> Result<(), Failure> {
    println!("Client:\n Version:           {}\n API version:       1.41", env!("CARGO_PKG_VERSION"));
    let v = client.json("GET", "/version", Body::None)?;
    println!("\nServer:\n Engine:");
    println!("  Version:          {}", text(&v["Version"]));
    println!(
        "  API version:      {} (minimum version {})",
        text(&v["ApiVersion"]),
        text(&v["MinAPIVersion"])
    );
    println!("  OS/Arch:          {}/{}", text(&v["Os"]), text(&v["Arch"]));
    Ok(())
}

pub(crate) fn info(client: &Client) -> Result<(), Failure> {
    let i = client.json("GET", "/info", Body::None)?;
    println!("Server:\n Containers: {}", i["Containers"]);
    println!(
        "  Running: {}\n  Paused: {}\n  Stopped: {}",
        i["ContainersRunning"], i["ContainersPaused"], i["ContainersStopped"]
    );
    println!(" Images: {}", i["Images"]);
    for (label, key) in [
        ("Server Version", "ServerVersion"),
        ("Storage Driver", "Driver"),
        ("Logging Driver", "LoggingDriver"),
        ("Cgroup Driver", "CgroupDriver"),
        ("Cgroup Version", "CgroupVersion"),
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("Architecture", "Architecture"),
        ("Name", "Name"),
        ("Docker Root Dir", "DockerRootDir"),
    ] {
        println!(" {label}: {}", text(&i[key]));
    }
    Ok(())
}
