//! run, create, start, attach and exec.

use std::fs;
use std::io::{self, IsTerminal};

use clap::Arg;
use quiet_stdout::say;
use serde_json::{Value, json};

use crate::config::{self, Described};
use crate::flags::{Options, flag, list, one};
use crate::http::{Body, Client, Failure, escape};
use crate::life::each;
use crate::streams;
use crate::terminal::{Raw, Signals};

fn keys() -> Arg {
    one("detach-keys", None, "Override the key sequence for detaching a container")
}

fn proxy() -> Arg {
    flag("sig-proxy", None, "Proxy received signals to the process").default_value("true")
}

pub(crate) fn flags() -> Vec<Arg> {
    let mut flags = config::flags();
    flags.push(flag("detach", Some('d'), "Run container in background and print container ID"));
    flags.extend([keys(), proxy()]);
    flags
}

pub(crate) fn attach_flags() -> Vec<Arg> {
    vec![keys(), flag("no-stdin", None, "Do not attach STDIN"), proxy()]
}

pub(crate) fn start_flags() -> Vec<Arg> {
    vec![
        flag("attach", Some('a'), "Attach STDOUT/STDERR and forward signals"),
        keys(),
        flag("interactive", Some('i'), "Attach container's STDIN"),
    ]
}

pub(crate) fn exec_flags() -> Vec<Arg> {
    vec![
        flag("detach", Some('d'), "Detached mode: run command in the background"),
        keys(),
        list("env", Some('e'), "Set environment variables"),
        list("env-file", None, "Read in a file of environment variables"),
        flag("interactive", Some('i'), "Keep STDIN open even if not attached"),
        flag("privileged", None, "Give extended privileges to the command"),
        flag("tty", Some('t'), "Allocate a pseudo-TTY"),
        one("user", Some('u'), "Username or UID (format: \"<name|uid>[:<group|gid>]\")"),
        one("workdir", Some('w'), "Working directory inside the container"),
    ]
}

/// A terminal cannot be made of a pipe.
fn check_terminal(stdin: bool, tty: bool) -> Result<(), Failure> {
    if stdin && tty && !io::stdin().is_terminal() {
        let text = "cannot attach stdin to a TTY-enabled container because stdin is not a terminal";
        return Err(Failure::Usage(text.into()));
    }
    Ok(())
}

fn make(client: &Client, options: &Options<'_>, described: &Described) -> Result<String, Failure> {
    let (name, image) = (options.text("name"), described.image.as_str());
    let mut path = "/containers/create?".to_owned();
    for (key, value) in [("name", &name), ("platform", &options.text("platform"))] {
        if !value.is_empty() {
            path.push_str(&format!("{key}={}&", escape(value)));
        }
    }
    streams::check_name(image).or_else(|failure| match image.strip_prefix("sha256:") {
        Some(_) => Ok(()),
        None => Err(failure),
    })?;
    let cidfile = options.text("cidfile");
    if !cidfile.is_empty() && fs::metadata(&cidfile).is_ok() {
        return Err(Failure::Usage(format!(
            "container ID file found, make sure the other container isn't running or delete {cidfile}"
        )));
    }
    let pull = options.text("pull");
    match pull.as_str() {
        "always" => streams::pull(client, image, true)?,
        "missing" | "never" => {}
        _ => {
            let text =
                format!("invalid pull option: '{pull}': must be one of \"always\", \"missing\" or \"never\"");
            return Err(Failure::Usage(text));
        }
    }
    let made = match client.json("POST", &path, Body::Json(&described.body)) {
        Err(Failure::Refused { status: 404, text })
            if pull == "missing" && text.starts_with("No such image") =>
        {
            eprintln!("Unable to find image '{}' locally", streams::tagged(image));
            streams::pull(client, image, true)?;
            client.json("POST", &path, Body::Json(&described.body))?
        }
        other => other?,
    };
    for warning in made["Warnings"].as_array().into_iter().flatten() {
        eprintln!("WARNING: {}", warning.as_str().unwrap_or_default());
    }
    let id = made["Id"].as_str().unwrap_or_default().to_owned();
    if !cidfile.is_empty() {
        fs::write(&cidfile, &id).map_err(|error| {
            Failure::Usage(format!("failed to write the container ID to {cidfile}: {error}"))
        })?;
    }
    Ok(id)
}

pub(crate) fn create(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let described = config::describe(options, false)?;
    say!("{}", make(client, options, &described)?);
    Ok(0)
}

pub(crate) fn run(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let detached = options.is_set("detach")?;
    if detached && options.is_given("attach") {
        let text = "conflicting options: cannot specify both --attach and --detach".to_owned();
        eprintln!("{text}");
        return Ok(1);
    }
    let described = config::describe(options, detached)?;
    if !detached {
        check_terminal(described.stdin, described.tty)?;
    }
    let id = make(client, options, &described)?;
    if detached {
        client.send("POST", &format!("/containers/{id}/start"), Body::None)?;
        say!("{id}");
        return Ok(0);
    }
    let streams = Streams {
        stdin: described.stdin,
        stdout: described.stdout,
        stderr: described.stderr,
        tty: described.tty,
        removed: described.auto_remove,
    };
    follow(client, options, &id, &streams, true)
}

struct Streams {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
    /// It is gone once it has ended.
    removed: bool,
}

/// Attaches, starts it if it is to be started, and waits for its end; its exit code.
fn follow(
    client: &Client,
    options: &Options<'_>,
    id: &str,
    streams: &Streams,
    starts: bool,
) -> Result<u8, Failure> {
    let proxy = !options.is_given("sig-proxy") || options.is_set("sig-proxy")?;
    let signals = Signals::hold(streams.tty, proxy);
    let path = escape(id);
    let attach = format!(
        "/containers/{path}/attach?stream=1&stdin={}&stdout={}&stderr={}&detachKeys={}",
        streams.stdin,
        streams.stdout,
        streams.stderr,
        escape(&options.text("detach-keys"))
    );
    let attached = client.send("POST", &attach, Body::Hijack(&json!({})))?;
    // Asked before the start, so that a short life is not missed.
    let condition = match (streams.removed, starts) {
        (true, _) => "removed",
        (false, true) => "next-exit",
        (false, false) => "not-running",
    };
    let waiting =
        client.send("POST", &format!("/containers/{path}/wait?condition={condition}"), Body::None)?;
    if starts {
        client.send("POST", &format!("/containers/{path}/start"), Body::None)?;
    }
    let resize = if streams.tty { format!("/containers/{path}/resize") } else { String::new() };
    signals.pass_on(client, id, resize);
    let raw = if streams.tty && streams.stdin { Raw::enter() } else { None };
    let carried = streams::carry(attached, streams.stdin, streams.tty);
    drop(raw);
    carried?;
    // Whoever detached left it running.
    if streams.tty && streams.stdin && is_running(client, &path) {
        return Ok(0);
    }
    let ended: Value = serde_json::from_slice(&waiting.bytes()?).unwrap_or_default();
    if let Some(text) = ended["Error"]["Message"].as_str().filter(|text| !text.is_empty()) {
        return Err(Failure::Ended { text: format!("Error waiting for container: {text}"), code: 125 });
    }
    Ok(u8::try_from(ended["StatusCode"].as_i64().unwrap_or(125)).unwrap_or(125))
}

fn is_running(client: &Client, path: &str) -> bool {
    let state = client.json("GET", &format!("/containers/{path}/json"), Body::None);
    state.is_ok_and(|container| container["State"]["Running"] == true)
}

pub(crate) fn attach(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let name = options.arg(0);
    let container = client.json("GET", &format!("/containers/{}/json", escape(&name)), Body::None)?;
    let problem = match &container["State"] {
        state if state["Running"] != true => "cannot attach to a stopped container, start it first",
        state if state["Paused"] == true => "cannot attach to a paused container, unpause it first",
        state if state["Restarting"] == true => {
            "cannot attach to a restarting container, wait until it is running"
        }
        _ => "",
    };
    if !problem.is_empty() {
        return Err(Failure::Usage(problem.into()));
    }
    let tty = container["Config"]["Tty"] == true;
    let stdin = container["Config"]["OpenStdin"] == true && !options.is_set("no-stdin")?;
    check_terminal(stdin, tty)?;
    let streams = Streams { stdin, stdout: true, stderr: true, tty, removed: false };
    follow(client, options, &name, &streams, false)
}

pub(crate) fn start(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let (attach, stdin) = (options.is_set("attach")?, options.is_set("interactive")?);
    if attach || stdin {
        if options.args().len() > 1 {
            return Err(Failure::Usage("you cannot start and attach multiple containers at once".into()));
        }
        let name = options.arg(0);
        let container = client.json("GET", &format!("/containers/{}/json", escape(&name)), Body::None)?;
        let tty = container["Config"]["Tty"] == true;
        let stdin = stdin && container["Config"]["OpenStdin"] == true;
        check_terminal(stdin, tty)?;
        let removed = container["HostConfig"]["AutoRemove"] == true;
        return follow(
            client,
            options,
            &name,
            &Streams { stdin, stdout: true, stderr: true, tty, removed },
            true,
        );
    }
    let mut failed = Vec::new();
    let code = each(options, |name| {
        let started = client.send("POST", &format!("/containers/{}/start", escape(name)), Body::None);
        if started.is_err() {
            failed.push(name.to_owned());
        }
        started.map(|_| say!("{name}"))
    });
    if !failed.is_empty() {
        eprintln!("Error: failed to start containers: {}", failed.join(", "));
    }
    Ok(code)
}

pub(crate) fn exec(client: &Client, options: &Options<'_>) -> Result<u8, Failure> {
    let args = options.args();
    let (name, command) = args.split_first().ok_or_else(|| Failure::Usage("no container is named".into()))?;
    let (detach, tty) = (options.is_set("detach")?, options.is_set("tty")?);
    let stdin = options.is_set("interactive")? && !detach;
    if !detach {
        check_terminal(stdin, tty)?;
    }
    let body = json!({
        "Cmd": command, "Tty": tty, "User": options.text("user"), "WorkingDir": options.text("workdir"),
        "Privileged": options.is_set("privileged")?, "Env": config::environment(options)?,
        "DetachKeys": options.text("detach-keys"),
        "AttachStdin": stdin, "AttachStdout": !detach, "AttachStderr": !detach,
    });
    let made = client.json("POST", &format!("/containers/{}/exec", escape(name)), Body::Json(&body))?;
    let id = made["Id"].as_str().unwrap_or_default();
    let start = json!({ "Detach": detach, "Tty": tty });
    let path = format!("/exec/{id}/start");
    if detach {
        client.send("POST", &path, Body::Json(&start))?;
        return Ok(0);
    }
    let signals = Signals::hold(tty, false);
    let answer = client.send("POST", &path, Body::Hijack(&start))?;
    if tty {
        signals.pass_on(client, name, format!("/exec/{id}/resize"));
    }
    let raw = if tty && stdin { Raw::enter() } else { None };
    let carried = streams::carry(answer, stdin, tty);
    drop(raw);
    carried?;
    let ended = client.json("GET", &format!("/exec/{id}/json"), Body::None)?;
    Ok(u8::try_from(ended["ExitCode"].as_i64().unwrap_or(1)).unwrap_or(1))
}

/// As the stock client makes it of what the engine said.
pub(crate) fn exit_code(message: &str) -> u8 {
    let has = |text: &str| message.contains(text);
    match () {
        () if !message.starts_with("Error response from daemon") => 125,
        () if has("executable file not found") || has("no such file or directory") => 127,
        () if has("permission denied") || has("is a directory") => 126,
        () => 125,
    }
}
