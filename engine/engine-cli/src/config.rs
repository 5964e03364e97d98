//! The flags of `run` and `create`, and the container they describe.

use std::collections::BTreeMap;
use std::fs;

use clap::Arg;
use serde_json::{Map, Value, json};

use crate::flags::{Options, flag, list, one};
use crate::http::Failure;
use crate::{mounts, ports, words};

/// All flags that describe a container.
pub(crate) fn flags() -> Vec<Arg> {
    vec![
        list("add-host", None, "Add a custom host-to-IP mapping (host:ip)"),
        list("attach", Some('a'), "Attach to STDIN, STDOUT or STDERR"),
        one("blkio-weight", None, "Block IO (relative weight), between 10 and 1000"),
        list("cap-add", None, "Add Linux capabilities"),
        list("cap-drop", None, "Drop Linux capabilities"),
        one("cgroup-parent", None, "Optional parent cgroup for the container"),
        one("cgroupns", None, "Cgroup namespace to use (host|private)"),
        one("cidfile", None, "Write the container ID to the file"),
        one("cpu-period", None, "Limit CPU CFS (Completely Fair Scheduler) period"),
        one("cpu-quota", None, "Limit CPU CFS (Completely Fair Scheduler) quota"),
        one("cpu-shares", Some('c'), "CPU shares (relative weight)"),
        one("cpus", None, "Number of CPUs"),
        one("cpuset-cpus", None, "CPUs in which to allow execution (0-3, 0,1)"),
        one("cpuset-mems", None, "MEMs in which to allow execution (0-3, 0,1)"),
        list("device", None, "Add a host device to the container"),
        list("device-cgroup-rule", None, "Add a rule to the cgroup allowed devices list"),
        list("dns", None, "Set custom DNS servers"),
        list("dns-option", None, "Set DNS options").alias("dns-opt"),
        list("dns-search", None, "Set custom DNS search domains"),
        one("domainname", None, "Container NIS domain name"),
        one("entrypoint", None, "Overwrite the default ENTRYPOINT of the image"),
        list("env", Some('e'), "Set environment variables"),
        list("env-file", None, "Read in a file of environment variables"),
        list("expose", None, "Expose a port or a range of ports"),
        list("group-add", None, "Add additional groups to join"),
        one("health-cmd", None, "Command to run to check health"),
        one("health-interval", None, "Time between running the check (ms|s|m|h)"),
        one("health-retries", None, "Consecutive failures needed to report unhealthy"),
        one("health-start-period", None, "Start period for the container to initialize (ms|s|m|h)"),
        one("health-timeout", None, "Maximum time to allow one check to run (ms|s|m|h)"),
        one("hostname", Some('h'), "Container host name"),
        flag("init", None, "Run an init inside the container"),
        flag("interactive", Some('i'), "Keep STDIN open even if not attached"),
        one("ip", None, "IPv4 address (e.g., 172.30.100.104)"),
        one("ipc", None, "IPC mode to use"),
        list("label", Some('l'), "Set meta data on a container"),
        list("label-file", None, "Read in a line delimited file of labels"),
        list("link", None, "Add link to another container"),
        one("log-driver", None, "Logging driver for the container"),
        list("log-opt", None, "Log driver options"),
        one("mac-address", None, "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
        one("memory", Some('m'), "Memory limit"),
        one("memory-reservation", None, "Memory soft limit"),
        one("memory-swap", None, "Swap limit equal to memory plus swap: '-1' to enable unlimited swap"),
        one("memory-swappiness", None, "Tune container memory swappiness (0 to 100)"),
        list("mount", None, "Attach a filesystem mount to the container"),
        one("name", None, "Assign a name to the container"),
        one("network", None, "Connect a container to a network").visible_alias("net"),
        list("network-alias", None, "Add network-scoped alias for the container").alias("net-alias"),
        flag("no-healthcheck", None, "Disable any container-specified HEALTHCHECK"),
        flag("oom-kill-disable", None, "Disable OOM Killer"),
        one("oom-score-adj", None, "Tune host's OOM preferences (-1000 to 1000)"),
        one("pid", None, "PID namespace to use"),
        one("pids-limit", None, "Tune container pids limit (set -1 for unlimited)"),
        one("platform", None, "Set platform if server is multi-platform capable"),
        flag("privileged", None, "Give extended privileges to this container"),
        list("publish", Some('p'), "Publish a container's port(s) to the host"),
        flag("publish-all", Some('P'), "Publish all exposed ports to random ports"),
        one("pull", None, "Pull image before running (\"always\", \"missing\", \"never\")")
            .default_value("missing"),
        flag("read-only", None, "Mount the container's root filesystem as read only"),
        one("restart", None, "Restart policy to apply when a container exits").default_value("no"),
        flag(
            "rm",
            None,
            "Automatically remove the container and its associated anonymous volumes when it exits",
        ),
        one("runtime", None, "Runtime to use for this container"),
        list("security-opt", None, "Security Options"),
        one("shm-size", None, "Size of /dev/shm"),
        one("stop-signal", None, "Signal to stop the container"),
        one("stop-timeout", None, "Timeout (in seconds) to stop a container"),
        list("storage-opt", None, "Storage driver options for the container"),
        list("sysctl", None, "Sysctl options"),
        list("tmpfs", None, "Mount a tmpfs directory"),
        flag("tty", Some('t'), "Allocate a pseudo-TTY"),
        list("ulimit", None, "Ulimit options"),
        one("user", Some('u'), "Username or UID (format: <name|uid>[:<group|gid>])"),
        one("userns", None, "User namespace to use"),
        one("uts", None, "UTS namespace to use"),
        list("volume", Some('v'), "Bind mount a volume"),
        one("volume-driver", None, "Optional volume driver for the container"),
        list("volumes-from", None, "Mount volumes from the specified container(s)"),
        one("workdir", Some('w'), "Working directory inside the container"),
    ]
}

/// What of a container the client itself must know.
pub(crate) struct Described {
    pub(crate) image: String,
    pub(crate) body: Value,
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) tty: bool,
    pub(crate) auto_remove: bool,
}

/// Reads the flags. `detached` is true where no stream is asked for by default.
pub(crate) fn describe(options: &Options<'_>, detached: bool) -> Result<Described, Failure> {
    let args = options.args();
    let (image, command) = args.split_first().ok_or_else(|| Failure::Usage("no image is named".into()))?;
    let (tty, interactive) = (options.is_set("tty")?, options.is_set("interactive")?);
    let auto_remove = options.is_set("rm")?;
    let attach = options.many("attach");
    if let Some(odd) =
        attach.iter().find(|name| !["stdin", "stdout", "stderr"].contains(&name.to_lowercase().as_str()))
    {
        return Err(options.wrong("attach", odd, "valid streams are STDIN, STDOUT and STDERR"));
    }
    let asked = |stream: &str| attach.iter().any(|name| name.eq_ignore_ascii_case(stream));
    let outputs = attach.is_empty() && !detached;
    let (stdin, stdout, stderr) = (
        asked("stdin") || (attach.is_empty() && interactive && !detached),
        asked("stdout") || outputs,
        asked("stderr") || outputs,
    );
    let restart = restart(&options.text("restart"))?;
    if auto_remove && restart["Name"] != "no" {
        return Err(Failure::Usage("conflicting options: cannot specify both --restart and --rm".into()));
    }
    let mut bindings = ports::Bindings::new();
    for spec in options.many("publish") {
        ports::publish(&spec, &mut bindings)?;
    }
    let mut exposed: Map<String, Value> = bindings.keys().map(|port| (port.clone(), json!({}))).collect();
    for spec in options.many("expose") {
        exposed.extend(ports::expose(&spec)?.into_iter().map(|port| (port, json!({}))));
    }
    let (binds, anonymous) = mounts::volumes(&options.many("volume"))?;
    let entrypoint = match options.is_given("entrypoint") {
        true => json!([options.text("entrypoint")]),
        false => Value::Null,
    };
    let mut body = json!({
        "Image": image,
        "Cmd": if command.is_empty() { Value::Null } else { json!(command) },
        "Entrypoint": entrypoint,
        "Env": environment(options)?,
        "User": options.text("user"), "WorkingDir": options.text("workdir"),
        "Hostname": options.text("hostname"), "Domainname": options.text("domainname"),
        "MacAddress": options.text("mac-address"),
        "Tty": tty, "OpenStdin": interactive, "StdinOnce": interactive && stdin,
        "AttachStdin": stdin, "AttachStdout": stdout, "AttachStderr": stderr,
        "Labels": labels(options)?, "ExposedPorts": exposed,
        "Volumes": if anonymous.is_empty() { Value::Null } else { anonymous.into() },
        "HostConfig": host_config(options, binds, bindings, restart, auto_remove)?,
        "NetworkingConfig": { "EndpointsConfig": endpoints(options) },
    });
    if let Some(check) = healthcheck(options)? {
        body["Healthcheck"] = check;
    }
    if options.is_given("stop-signal") {
        body["StopSignal"] = options.text("stop-signal").into();
    }
    if let Some(seconds) = options.number("stop-timeout")? {
        body["StopTimeout"] = seconds.into();
    }
    Ok(Described { image: image.clone(), body, stdin, stdout, stderr, tty, auto_remove })
}

fn host_config(
    options: &Options<'_>,
    binds: Vec<String>,
    bindings: ports::Bindings,
    restart: Value,
    auto_remove: bool,
) -> Result<Value, Failure> {
    // What was not asked for travels as null, as the stock client has it.
    let some = |name: &str| match options.many(name) {
        list if list.is_empty() => Value::Null,
        list => json!(list),
    };
    let each = |name: &str, read: &dyn Fn(&str) -> Result<Value, Failure>| {
        options.many(name).iter().map(|spec| read(spec)).collect::<Result<Vec<_>, _>>()
    };
    let mounts = each("mount", &|spec| mounts::mount(spec, options))?;
    let (security, bare_paths) = security(&options.many("security-opt"))?;
    let network = match options.text("network") {
        name if name.is_empty() => "default".to_owned(),
        name => name,
    };
    check_lists(options)?;
    let mut config = json!({
        "AutoRemove": auto_remove, "Privileged": options.is_set("privileged")?,
        "PublishAllPorts": options.is_set("publish-all")?, "ReadonlyRootfs": options.is_set("read-only")?,
        "Init": if options.is_given("init") { json!(options.is_set("init")?) } else { Value::Null },
        "Binds": if binds.is_empty() { Value::Null } else { json!(binds) },
        "Mounts": if mounts.is_empty() { Value::Null } else { json!(mounts) },
        "VolumesFrom": some("volumes-from"),
        "VolumeDriver": options.text("volume-driver"),
        "PortBindings": bindings, "NetworkMode": network, "Links": some("link"),
        "Dns": options.many("dns"), "DnsOptions": options.many("dns-option"), "DnsSearch": options.many("dns-search"),
        "ExtraHosts": some("add-host"),
        "CapAdd": some("cap-add"), "CapDrop": some("cap-drop"), "GroupAdd": some("group-add"),
        "SecurityOpt": if security.is_empty() { Value::Null } else { json!(security) },
        "Ulimits": each("ulimit", &|spec| mounts::ulimit(spec, options))?,
        "Devices": each("device", &mounts::device)?, "DeviceCgroupRules": some("device-cgroup-rule"),
        "BlkioWeightDevice": [], "BlkioDeviceReadBps": [], "BlkioDeviceWriteBps": [],
        "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [],
        "RestartPolicy": restart, "ShmSize": options.size("shm-size")?, "Runtime": options.text("runtime"),
        "LogConfig": { "Type": options.text("log-driver"), "Config": pairs(&options.many("log-opt")) },
        "CgroupParent": options.text("cgroup-parent"), "CgroupnsMode": options.text("cgroupns"),
        "IpcMode": options.text("ipc"), "PidMode": options.text("pid"), "UTSMode": options.text("uts"),
        "UsernsMode": options.text("userns"), "ContainerIDFile": options.text("cidfile"),
    });
    // An empty map would be shown by inspect.
    let maps = [
        ("Tmpfs", mounts::tmpfs(&options.many("tmpfs"))),
        ("Sysctls", pairs(&options.many("sysctl"))),
        ("StorageOpt", pairs(&options.many("storage-opt"))),
    ];
    for (name, map) in maps.into_iter().filter(|(_, map)| !map.is_empty()) {
        config[name] = json!(map);
    }
    if bare_paths {
        config["MaskedPaths"] = json!([]);
        config["ReadonlyPaths"] = json!([]);
    }
    if let (Value::Object(config), Value::Object(limits)) = (&mut config, limits(options)?) {
        config.extend(limits);
    }
    Ok(config)
}

/// `--security-opt` as the engine takes it, and whether no path of /proc and /sys is to be masked. A seccomp
/// profile is read here: the engine may be elsewhere.
fn security(given: &[String]) -> Result<(Vec<String>, bool), Failure> {
    let (mut all, mut bare_paths) = (Vec::new(), false);
    for option in given {
        let pair = option.split_once('=').or_else(|| option.split_once(':'));
        match pair {
            None if option == "no-new-privileges" => all.push(option.clone()),
            None => return Err(Failure::Usage(format!("Invalid --security-opt: \"{option}\""))),
            Some(("systempaths", "unconfined")) => bare_paths = true,
            Some(("seccomp", path)) if path != "unconfined" && path != "builtin" => {
                let profile = fs::read_to_string(path).map_err(|error| {
                    let reason = crate::http::reason(&error);
                    Failure::Usage(format!("opening seccomp profile ({path}) failed: open {path}: {reason}"))
                })?;
                all.push(format!("seccomp={profile}"));
            }
            Some(_) => all.push(option.clone()),
        }
    }
    Ok((all, bare_paths))
}

/// What it may use.
fn limits(options: &Options<'_>) -> Result<Value, Failure> {
    let cpus = match options.text("cpus").as_str() {
        "" => 0.0,
        n => n
            .parse::<f64>()
            .map_err(|_| options.wrong("cpus", n, &format!("failed to parse {n} as a rational number")))?,
    };
    let number = |name: &str| options.number(name).map(|n| n.unwrap_or(0));
    Ok(json!({
        "Memory": options.size("memory")?, "MemoryReservation": options.size("memory-reservation")?,
        "MemorySwap": options.size("memory-swap")?,
        "MemorySwappiness": options.number("memory-swappiness")?.unwrap_or(-1),
        "NanoCpus": (cpus * 1e9) as i64, "CpuShares": number("cpu-shares")?, "CpuPeriod": number("cpu-period")?,
        "CpuQuota": number("cpu-quota")?, "CpusetCpus": options.text("cpuset-cpus"),
        "CpusetMems": options.text("cpuset-mems"), "PidsLimit": number("pids-limit")?,
        "BlkioWeight": number("blkio-weight")?, "OomScoreAdj": number("oom-score-adj")?,
        "OomKillDisable": options.is_set("oom-kill-disable")?,
    }))
}

/// Lists whose entries the client itself looks at.
fn check_lists(options: &Options<'_>) -> Result<(), Failure> {
    let check = |name: &str, is_right: &dyn Fn(&str) -> bool, why: &dyn Fn(&str) -> String| {
        let odd = options.many(name).into_iter().find(|given| !is_right(given));
        odd.map_or(Ok(()), |given| Err(options.wrong(name, &given, &why(&given))))
    };
    let is_link = |link: &str| !link.is_empty() && link.split(':').count() <= 2;
    check("link", &is_link, &|link| format!("bad format for links: {link}"))?;
    let is_host =
        |host: &str| host.split_once([':', '=']).is_some_and(|(name, ip)| !name.is_empty() && !ip.is_empty());
    check("add-host", &is_host, &|host| format!("bad format for add-host: \"{host}\""))?;
    let is_address = |ip: &str| ip.trim().parse::<std::net::IpAddr>().is_ok();
    check("dns", &is_address, &|ip| format!("IP address is not correctly formatted: {ip}"))?;
    check("sysctl", &is_sysctl, &|sysctl| format!("sysctl '{sysctl}' is not allowed"))
}

/// Whether a container may have a setting of its own.
fn is_sysctl(given: &str) -> bool {
    const NAMES: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let name = given.split_once('=').map_or("", |(name, _)| name);
    NAMES.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue.")
}

/// The flags of `update`.
pub(crate) fn update_flags() -> Vec<Arg> {
    const NAMES: [&str; 12] = [
        "blkio-weight",
        "cpu-period",
        "cpu-quota",
        "cpu-shares",
        "cpus",
        "cpuset-cpus",
        "cpuset-mems",
        "memory",
        "memory-reservation",
        "memory-swap",
        "pids-limit",
        "restart",
    ];
    flags().into_iter().filter(|arg| NAMES.contains(&arg.get_id().as_str())).collect()
}

/// What `update` is to change; nothing if no flag was given.
pub(crate) fn update(options: &Options<'_>) -> Result<Option<Value>, Failure> {
    let mut body = limits(options)?;
    if options.is_given("restart") {
        body["RestartPolicy"] = restart(&options.text("restart"))?;
    }
    let any = update_flags().iter().any(|arg| options.is_given(arg.get_id().as_str()));
    Ok(any.then_some(body))
}

/// A network by name, where the container has an address or aliases of its own.
fn endpoints(options: &Options<'_>) -> Map<String, Value> {
    let (network, ip, aliases) = (options.text("network"), options.text("ip"), options.many("network-alias"));
    let network = if network.is_empty() { "default".to_owned() } else { network };
    let mut endpoints = Map::new();
    if !ip.is_empty() || !aliases.is_empty() {
        let address = if ip.is_empty() { Value::Null } else { json!({ "IPv4Address": ip }) };
        endpoints.insert(network, json!({ "IPAMConfig": address, "Aliases": aliases }));
    }
    endpoints
}

fn healthcheck(options: &Options<'_>) -> Result<Option<Value>, Failure> {
    const TIMES: [(&str, &str); 3] = [
        ("health-interval", "Interval"),
        ("health-timeout", "Timeout"),
        ("health-start-period", "StartPeriod"),
    ];
    let command = options.text("health-cmd");
    let given = |name: &str| options.is_given(name);
    let any = given("health-cmd") || given("health-retries") || TIMES.iter().any(|(name, _)| given(name));
    if options.is_set("no-healthcheck")? {
        if any {
            return Err(Failure::Usage("--no-healthcheck conflicts with --health-* options".into()));
        }
        return Ok(Some(json!({ "Test": ["NONE"] })));
    }
    if !any {
        return Ok(None);
    }
    let mut check = json!({ "Retries": options.number("health-retries")?.unwrap_or(0) });
    if !command.is_empty() {
        check["Test"] = json!(["CMD-SHELL", command]);
    }
    for (name, key) in TIMES {
        let text = options.text(name);
        if text.is_empty() {
            continue;
        }
        let time = words::duration(&text);
        let time =
            time.ok_or_else(|| options.wrong(name, &text, &format!("time: invalid duration \"{text}\"")))?;
        check[key] = i64::try_from(time.whole_nanoseconds()).unwrap_or(i64::MAX).into();
    }
    Ok(Some(check))
}

fn restart(policy: &str) -> Result<Value, Failure> {
    let (name, tries) = policy.split_once(':').unwrap_or((policy, "0"));
    let tries: i64 = tries.parse().map_err(|_| {
        Failure::Usage("invalid restart policy format: maximum retry count must be an integer".into())
    })?;
    Ok(json!({ "Name": if name.is_empty() { "no" } else { name }, "MaximumRetryCount": tries }))
}

/// `KEY` alone takes its value from this process, and is left out if it has none here.
pub(crate) fn environment(options: &Options<'_>) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for path in options.many("env-file") {
        for line in lines(&path)? {
            let key = line.split('=').next().unwrap_or_default();
            if key.is_empty() {
                return Err(Failure::Usage(format!(
                    "invalid env file ({path}): no variable name on line '{line}'"
                )));
            }
            if key.contains(char::is_whitespace) {
                return Err(Failure::Usage(format!(
                    "invalid env file ({path}): variable '{key}' contains whitespaces"
                )));
            }
            all.push(line);
        }
    }
    for given in options.many("env") {
        if given.is_empty() || given.starts_with('=') {
            return Err(options.wrong("env", &given, &format!("invalid environment variable: {given}")));
        }
        all.push(given);
    }
    let whole = |entry: String| match entry.contains('=') {
        true => Some(entry),
        false => std::env::var(&entry).ok().map(|value| format!("{entry}={value}")),
    };
    Ok(all.into_iter().filter_map(whole).collect())
}

fn labels(options: &Options<'_>) -> Result<BTreeMap<String, String>, Failure> {
    let mut all = Vec::new();
    for path in options.many("label-file") {
        all.extend(lines(&path)?);
    }
    all.extend(options.many("label"));
    Ok(pairs(&all))
}

/// The lines of a file that are no comments.
fn lines(path: &str) -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("open {path}: {}", crate::http::reason(&error))))?;
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// `key=value`, or `key` with an empty value.
pub(crate) fn pairs(given: &[String]) -> BTreeMap<String, String> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (text.clone(), String::new()),
    };
    given.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, Command};

    fn described(words: &[&str]) -> Result<Described, String> {
        let args = Arg::new("args").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
        let run =
            Command::new("run").disable_help_flag(true).args(flags()).arg(args).args_override_self(true);
        let matches =
            run.try_get_matches_from([&["run"], words].concat()).map_err(|error| error.to_string())?;
        describe(&Options::new(&matches, &[]), false).map_err(|failure| failure.to_string())
    }

    #[test]
    fn flags_after_the_image_belong_to_the_command() {
        let made = described(&["--rm", "-e", "A=1", "bb", "sh", "-c", "x"]).unwrap();
        assert_eq!((made.image.as_str(), made.auto_remove), ("bb", true));
        assert_eq!(made.body["Cmd"], json!(["sh", "-c", "x"]));
        assert_eq!(made.body["Env"], json!(["A=1"]));
    }

    #[test]
    fn switches_may_have_a_value_and_be_joined() {
        let made = described(&["-it", "--rm=false", "--privileged=true", "bb"]).unwrap();
        assert!(made.tty && made.stdin && !made.auto_remove);
        assert_eq!(made.body["HostConfig"]["Privileged"], true);
        assert_eq!(described(&["-itm", "64m", "bb"]).unwrap().body["HostConfig"]["Memory"], 64 << 20);
        let odd = described(&["--rm=maybe", "bb"]).map(|_| ()).unwrap_err();
        assert_eq!(
            odd,
            "invalid argument \"maybe\" for \"--rm\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax"
        );
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (words, why) in [
            (&["--rm", "--restart", "always", "bb"] as &[&str], "cannot specify both --restart and --rm"),
            (&["--restart", "on-failure:x", "bb"], "maximum retry count must be an integer"),
            (&["-e", "=x", "bb"], "invalid environment variable: =x"),
            (&["--env-file", "/nosuch", "bb"], "open /nosuch: no such file or directory"),
            (&["--link", "a:b:c", "bb"], "bad format for links: a:b:c"),
            (&["--health-interval", "soon", "bb"], "time: invalid duration \"soon\""),
            (&["-a", "stdlog", "bb"], "valid streams are STDIN, STDOUT and STDERR"),
        ] {
            let said = described(words).map(|_| ()).unwrap_err();
            assert!(said.ends_with(why), "{words:?}: {said}");
        }
    }
}
