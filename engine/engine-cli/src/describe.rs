//! What is said of the engine and of one container: version, info, top, port, diff.

use quiet_stdout::{put, say};
use serde_json::{Value, json};

use crate::flags::Options;
use crate::format;
use crate::http::{Body, Client, Failure, escape};
use crate::words::text;

const API: &str = "1.41";

pub(crate) fn version(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let template = options.text("format");
    let own = json!({
        "Version": env!("CARGO_PKG_VERSION"), "ApiVersion": API, "Os": std::env::consts::OS, "Arch": arch(),
    });
    if !template.is_empty() {
        let server = client.json("GET", "/version", Body::None)?;
        format::object(&json!({ "Client": own, "Server": server }), &template)?;
        return Ok(0);
    }
    say!("Client:\n Version:           {}\n API version:       {API}", env!("CARGO_PKG_VERSION"));
    say!(" OS/Arch:           {}/{}", std::env::consts::OS, arch());
    let v = client.json("GET", "/version", Body::None)?;
    say!("\nServer:\n Engine:");
    for (label, value) in [
        ("Version:", text(&v["Version"])),
        (
            "API version:",
            format!("{} (minimum version {})", text(&v["ApiVersion"]), text(&v["MinAPIVersion"])),
        ),
        ("Git commit:", text(&v["GitCommit"])),
        ("Built:", text(&v["BuildTime"])),
        ("OS/Arch:", format!("{}/{}", text(&v["Os"]), text(&v["Arch"]))),
        ("Kernel:", text(&v["KernelVersion"])),
    ] {
        if !value.is_empty() {
            say!("  {label:<17}{value}");
        }
    }
    Ok(0)
}

/// As Go names it.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

pub(crate) fn info(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let i = client.json("GET", "/info", Body::None)?;
    let template = options.text("format");
    if !template.is_empty() {
        format::object(&i, &template)?;
        return Ok(0);
    }
    say!("Client:\n Version:    {}\n\nServer:", env!("CARGO_PKG_VERSION"));
    say!(" Containers: {}", i["Containers"]);
    for (label, key) in
        [("Running", "ContainersRunning"), ("Paused", "ContainersPaused"), ("Stopped", "ContainersStopped")]
    {
        say!("  {label}: {}", i[key]);
    }
    say!(" Images: {}", i["Images"]);
    say!(" Server Version: {}", text(&i["ServerVersion"]));
    say!(" Storage Driver: {}", text(&i["Driver"]));
    for pair in i["DriverStatus"].as_array().into_iter().flatten() {
        say!("  {}: {}", text(&pair[0]), text(&pair[1]));
    }
    for (label, key) in [
        ("Logging Driver", "LoggingDriver"),
        ("Cgroup Driver", "CgroupDriver"),
        ("Cgroup Version", "CgroupVersion"),
        ("Default Runtime", "DefaultRuntime"),
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
    ] {
        say!(" {label}: {}", text(&i[key]));
    }
    say!(" CPUs: {}", i["NCPU"]);
    say!(" Total Memory: {}", engine_api::size::binary(i["MemTotal"].as_u64().unwrap_or(0)));
    for (label, key) in [("Name", "Name"), ("ID", "ID"), ("Docker Root Dir", "DockerRootDir")] {
        say!(" {label}: {}", text(&i[key]));
    }
    say!(" Debug Mode: {}", i["Debug"] == true);
    say!(" Live Restore Enabled: {}", i["LiveRestoreEnabled"] == true);
    for warning in i["Warnings"].as_array().into_iter().flatten() {
        eprintln!("{}", text(warning));
    }
    Ok(0)
}

pub(crate) fn top(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let args = options.args();
    let (name, words) = args.split_first().ok_or_else(|| Failure::Usage("no container is named".into()))?;
    let mut path = format!("/containers/{}/top", escape(name));
    if !words.is_empty() {
        path.push_str(&format!("?ps_args={}", escape(&words.join(" "))));
    }
    let answer = client.json("GET", &path, Body::None)?;
    let cells = |row: &Value| row.as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
    let mut table = vec![cells(&answer["Titles"])];
    table.extend(answer["Processes"].as_array().into_iter().flatten().map(cells));
    put!("{}", format::aligned(&table, 20));
    Ok(0)
}

pub(crate) fn port(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let (name, wanted) = (options.arg(0), options.arg(1));
    let container = client.json("GET", &format!("/containers/{}/json", escape(&name)), Body::None)?;
    let ports = &container["NetworkSettings"]["Ports"];
    let place = |binding: &Value| match text(&binding["HostIp"]) {
        ip if ip.contains(':') => format!("[{ip}]:{}", text(&binding["HostPort"])),
        ip => format!("{ip}:{}", text(&binding["HostPort"])),
    };
    if wanted.is_empty() {
        let mut lines = Vec::new();
        for (port, bindings) in ports.as_object().into_iter().flatten() {
            let places = bindings.as_array().into_iter().flatten().map(place);
            let number: u32 = port.split('/').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            lines.extend(places.map(|place| (number, format!("{port} -> {place}"))));
        }
        lines.sort();
        lines.iter().for_each(|(_, line)| say!("{line}"));
        return Ok(0);
    }
    let port = if wanted.contains('/') { wanted } else { format!("{wanted}/tcp") };
    match ports[&port].as_array() {
        Some(bindings) if !bindings.is_empty() => {
            bindings.iter().for_each(|binding| say!("{}", place(binding)))
        }
        _ => {
            let text = format!("no public port '{port}' published for {name}");
            return Err(Failure::Usage(text));
        }
    }
    Ok(0)
}

pub(crate) fn diff(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let changes =
        client.json("GET", &format!("/containers/{}/changes", escape(&options.arg(0))), Body::None)?;
    for change in changes.as_array().into_iter().flatten() {
        let kind = match change["Kind"].as_u64() {
            Some(0) => "C",
            Some(1) => "A",
            _ => "D",
        };
        say!("{kind} {}", text(&change["Path"]));
    }
    Ok(0)
}
