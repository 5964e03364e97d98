//! run, create and exec.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use crate::http::{Body, Client, Failure, escape};
use crate::streams;

fn list(long: &'static str, short: Option<char>, help: &'static str) -> Arg {
    let arg = Arg::new(long).long(long).action(ArgAction::Append).help(help);
    short.map_or(arg.clone(), |c| arg.short(c))
}

fn one(long: &'static str, short: Option<char>, help: &'static str) -> Arg {
    list(long, short, help).action(ArgAction::Set)
}

fn flag(long: &'static str, short: Option<char>, help: &'static str) -> Arg {
    list(long, short, help).action(ArgAction::SetTrue)
}

pub(crate) fn command(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(about)
        .arg(flag("detach", Some('d'), "Run container in background and print container ID"))
        .arg(flag("interactive", Some('i'), "Keep STDIN open even if not attached"))
        .arg(flag("tty", Some('t'), "Allocate a pseudo-TTY"))
        .arg(flag("rm", None, "Automatically remove the container when it exits"))
        .arg(flag("privileged", None, "Give extended privileges to this container"))
        .arg(flag("read-only", None, "Mount the container's root filesystem as read only"))
        .arg(flag("init", None, "Run an init inside the container"))
        .arg(one("name", None, "Assign a name to the container"))
        .arg(one("user", Some('u'), "Username or UID (format: <name|uid>[:<group|gid>])"))
        .arg(one("workdir", Some('w'), "Working directory inside the container"))
        .arg(one("hostname", Some('h'), "Container host name").id("hostname"))
        .arg(one("entrypoint", None, "Overwrite the default ENTRYPOINT of the image"))
        .arg(one("network", None, "Connect a container to a network").visible_alias("net"))
        .arg(one("memory", Some('m'), "Memory limit"))
        .arg(one("cpus", None, "Number of CPUs"))
        .arg(one("restart", None, "Restart policy to apply when a container exits"))
        .arg(list("env", Some('e'), "Set environment variables"))
        .arg(list("volume", Some('v'), "Bind mount a volume"))
        .arg(list("publish", Some('p'), "Publish a container's port(s) to the host"))
        .arg(list("label", Some('l'), "Set meta data on a container"))
        .arg(list("cap-add", None, "Add Linux capabilities"))
        .arg(list("cap-drop", None, "Drop Linux capabilities"))
        .arg(list("security-opt", None, "Security Options"))
        .arg(list("link", None, "Add link to another container"))
        .arg(list("dns", None, "Set custom DNS servers"))
        .arg(list("add-host", None, "Add a custom host-to-IP mapping (host:ip)"))
        .disable_help_flag(true)
        .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Print help"))
        .arg(
            Arg::new("image")
                .required(true)
                .num_args(1..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_names(["IMAGE", "COMMAND"]),
        )
}

pub(crate) fn exec_command() -> Command {
    Command::new("exec")
        .about("Execute a command in a running container")
        .arg(flag("detach", Some('d'), "Detached mode: run command in the background"))
        .arg(flag("interactive", Some('i'), "Keep STDIN open even if not attached"))
        .arg(flag("tty", Some('t'), "Allocate a pseudo-TTY"))
        .arg(one("user", Some('u'), "Username or UID (format: <name|uid>[:<group|gid>])"))
        .arg(one("workdir", Some('w'), "Working directory inside the container"))
        .arg(list("env", Some('e'), "Set environment variables"))
        .arg(
            Arg::new("command")
                .required(true)
                .num_args(2..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_names(["CONTAINER", "COMMAND"]),
        )
}

fn many(options: &ArgMatches, name: &str) -> Vec<String> {
    options.get_many::<String>(name).into_iter().flatten().cloned().collect()
}

fn text(options: &ArgMatches, name: &str) -> String {
    options.get_one::<String>(name).cloned().unwrap_or_default()
}

/// `KEY` alone takes its value from this process.
fn environment(options: &ArgMatches) -> Vec<String> {
    let whole = |entry: String| match entry.contains('=') {
        true => Some(entry),
        false => std::env::var(&entry).ok().map(|value| format!("{entry}={value}")),
    };
    many(options, "env").into_iter().filter_map(whole).collect()
}

/// `[ip:][public:]private[/protocol]` as a port and its binding.
fn publish(spec: &str) -> Result<(String, Value), Failure> {
    let (address, protocol) = spec.split_once('/').unwrap_or((spec, "tcp"));
    let parts: Vec<&str> = address.split(':').collect();
    let (ip, public, private) = match parts.as_slice() {
        [private] => ("", "", *private),
        [public, private] => ("", *public, *private),
        [ip, public, private] => (*ip, *public, *private),
        _ => return Err(Failure::Usage(format!("invalid publish: {spec}"))),
    };
    if private.parse::<u16>().is_err() {
        return Err(Failure::Usage(format!("invalid containerPort: {private}")));
    }
    Ok((format!("{private}/{protocol}"), json!({ "HostIp": ip, "HostPort": public })))
}

fn body(options: &ArgMatches, attach: bool) -> Result<(String, Value), Failure> {
    let words = many(options, "image");
    let (image, command) = words.split_first().expect("required");
    let mut ports: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for spec in many(options, "publish") {
        let (port, binding) = publish(&spec)?;
        ports.entry(port).or_default().push(binding);
    }
    let exposed: BTreeMap<&String, Value> = ports.keys().map(|p| (p, json!({}))).collect();
    let labels: BTreeMap<String, String> = many(options, "label")
        .iter()
        .map(|l| l.split_once('=').map_or((l.clone(), String::new()), |(k, v)| (k.to_owned(), v.to_owned())))
        .collect();
    let memory = match text(options, "memory").as_str() {
        "" => 0,
        size => {
            engine_api::size::parse(size).ok_or_else(|| Failure::Usage(format!("invalid size: '{size}'")))?
        }
    };
    let cpus = match text(options, "cpus").as_str() {
        "" => 0.0,
        n => n
            .parse::<f64>()
            .map_err(|_| Failure::Usage(format!("failed to parse {n} as a rational number")))?,
    };
    let restart = text(options, "restart");
    let (policy, tries) = restart.split_once(':').unwrap_or((&restart, "0"));
    let (stdin, entrypoint) = (options.get_flag("interactive"), text(options, "entrypoint"));
    let value = json!({
        "Image": image,
        "Cmd": if command.is_empty() { Value::Null } else { json!(command) },
        "Entrypoint": if entrypoint.is_empty() { Value::Null } else { json!([entrypoint]) },
        "Env": environment(options),
        "User": text(options, "user"), "WorkingDir": text(options, "workdir"), "Hostname": text(options, "hostname"),
        "Tty": options.get_flag("tty"),
        "OpenStdin": stdin, "StdinOnce": stdin && attach,
        "AttachStdin": stdin && attach, "AttachStdout": attach, "AttachStderr": attach,
        "Labels": labels, "ExposedPorts": exposed,
        "HostConfig": {
            "AutoRemove": options.get_flag("rm"), "Privileged": options.get_flag("privileged"),
            "ReadonlyRootfs": options.get_flag("read-only"),
            "Init": if options.get_flag("init") { json!(true) } else { Value::Null },
            "Binds": many(options, "volume"), "PortBindings": ports, "NetworkMode": text(options, "network"),
            "Memory": memory, "NanoCpus": (cpus * 1e9) as i64,
            "RestartPolicy": { "Name": policy, "MaximumRetryCount": tries.parse::<i64>().unwrap_or(0) },
            "CapAdd": many(options, "cap-add"), "CapDrop": many(options, "cap-drop"),
            "SecurityOpt": many(options, "security-opt"), "Links": many(options, "link"),
            "Dns": many(options, "dns"), "ExtraHosts": many(options, "add-host"),
        },
    });
    Ok((image.clone(), value))
}

fn create_with(client: &Client, options: &ArgMatches, attach: bool) -> Result<String, Failure> {
    let (image, body) = body(options, attach)?;
    let name = text(options, "name");
    let path = if name.is_empty() {
        "/containers/create".to_owned()
    } else {
        format!("/containers/create?name={}", escape(&name))
    };
    let made = match client.json("POST", &path, Body::Json(&body)) {
        Err(Failure::Refused(message)) if message.starts_with("No such image") => {
            eprintln!("Unable to find image '{image}' locally");
            streams::pull(client, &image)?;
            client.json("POST", &path, Body::Json(&body))?
        }
        other => other?,
    };
    for warning in made["Warnings"].as_array().into_iter().flatten() {
        eprintln!("WARNING: {}", warning.as_str().unwrap_or_default());
    }
    Ok(made["Id"].as_str().unwrap_or_default().to_owned())
}

pub(crate) fn create(client: &Client, options: &ArgMatches) -> Result<String, Failure> {
    create_with(client, options, false)
}

pub(crate) fn run(client: &Client, options: &ArgMatches) -> Result<u8, Failure> {
    let detached = options.get_flag("detach");
    let id = create_with(client, options, !detached)?;
    if detached {
        client.send("POST", &format!("/containers/{id}/start"), Body::None)?;
        println!("{id}");
        return Ok(0);
    }
    let (stdin, tty) = (options.get_flag("interactive"), options.get_flag("tty"));
    let attach = format!("/containers/{id}/attach?stream=1&stdout=1&stderr=1&stdin={stdin}");
    let attached = client.send("POST", &attach, Body::Hijack(&json!({})))?;
    // Asked before the start, so that a short life is not missed.
    let condition = if options.get_flag("rm") { "removed" } else { "next-exit" };
    let waiting = client.send("POST", &format!("/containers/{id}/wait?condition={condition}"), Body::None)?;
    client.send("POST", &format!("/containers/{id}/start"), Body::None)?;
    streams::carry(attached, stdin, tty)?;
    let ended: Value = serde_json::from_slice(&waiting.bytes()?).unwrap_or_default();
    Ok(u8::try_from(ended["StatusCode"].as_i64().unwrap_or(125)).unwrap_or(125))
}

pub(crate) fn exec(client: &Client, options: &ArgMatches) -> Result<u8, Failure> {
    let words = many(options, "command");
    let (name, command) = words.split_first().expect("required");
    let (detach, stdin, tty) =
        (options.get_flag("detach"), options.get_flag("interactive"), options.get_flag("tty"));
    let body = json!({
        "Cmd": command, "Tty": tty, "User": text(options, "user"), "WorkingDir": text(options, "workdir"),
        "Env": environment(options),
        "AttachStdin": stdin && !detach, "AttachStdout": !detach, "AttachStderr": !detach,
    });
    let made = client.json("POST", &format!("/containers/{}/exec", escape(name)), Body::Json(&body))?;
    let id = made["Id"].as_str().unwrap_or_default();
    let start = json!({ "Detach": detach, "Tty": tty });
    let path = format!("/exec/{id}/start");
    if detach {
        client.send("POST", &path, Body::Json(&start))?;
        return Ok(0);
    }
    streams::carry(client.send("POST", &path, Body::Hijack(&start))?, stdin, tty)?;
    let ended = client.json("GET", &format!("/exec/{id}/json"), Body::None)?;
    Ok(u8::try_from(ended["ExitCode"].as_i64().unwrap_or(1)).unwrap_or(1))
}

/// As the stock client makes it of what the engine said.
pub(crate) fn exit_code(message: &str) -> u8 {
    let has = |text: &str| message.contains(text);
    match () {
        () if has("executable file not found") || has("no such file or directory") => 127,
        () if has("permission denied") || has("is a directory") => 126,
        () => 125,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports() {
        let (port, binding) = publish("127.0.0.1:8080:80/udp").unwrap();
        assert_eq!(
            (port.as_str(), binding),
            ("80/udp", json!({ "HostIp": "127.0.0.1", "HostPort": "8080" }))
        );
        assert!(publish("x").is_err() && publish("1:2:3:4").is_err());
    }

    #[test]
    fn flags_after_the_image_belong_to_the_command() {
        let m = command("run", "")
            .try_get_matches_from(["run", "--rm", "-e", "A=1", "bb", "sh", "-c", "x"])
            .unwrap();
        assert_eq!(many(&m, "image"), ["bb", "sh", "-c", "x"]);
        let (_, body) = body(&m, true).unwrap();
        assert_eq!(
            (body["Env"][0].as_str(), body["HostConfig"]["AutoRemove"].as_bool()),
            (Some("A=1"), Some(true))
        );
    }
}
