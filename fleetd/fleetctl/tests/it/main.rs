//! fleetctl's words and columns, against a real daemon on a real etcd; only the supervisor keeps
//! account instead of processes. The daemon runs in a thread of the test.

mod fleets_own;
mod membership;
mod world;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use fleet_testbed::eventually;

use world::{ID, LIMIT, PLAIN, Printed, World, printed};

fn alone(args: &[&str]) -> Printed {
    printed(Command::new(env!("CARGO_BIN_EXE_fleetctl")).args(args))
}

#[test]
fn every_way_to_ask_for_help_gives_the_same() {
    let help = alone(&["help"]);
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    for verb in ["cat", "destroy", "fd-forward", "journal", "list-machines", "list-unit-files", "why"] {
        assert!(help.out.contains(&format!("  {verb} ")), "{verb} is missing in {}", help.out);
    }
    for args in [&["-h"][..], &["--help"], &[]] {
        assert_eq!(alone(args), help, "{args:?}");
    }
    assert!(help.out.lines().all(|line| line.chars().count() <= 100), "{}", help.out);
    assert_eq!(alone(&["nonsense"]).code, Some(2));
    let version = alone(&["version"]).out;
    let number = version.strip_prefix("fleetctl version ").expect("as fleet says it").trim_end();
    assert!(help.out.contains(number), "{}", help.out);
    for flag in ["--version", "-v", "-version"] {
        assert_eq!(alone(&[flag]).out, version, "{flag}");
    }
}

#[test]
fn nobody_there_is_told_with_what_to_do() {
    let printed = alone(&["--endpoint", "unix:///nonexistent/fleet.sock", "list-units"]);
    assert_eq!((printed.code, printed.out.as_str()), (Some(1), ""));
    assert!(printed.err.starts_with("error: fleetd at unix:///nonexistent/fleet.sock does not answer: "));
    assert!(printed.err.contains("\nhint: "), "{}", printed.err);
    let printed = alone(&["--driver", "etcd", "list-units"]);
    assert!(printed.err.starts_with("error: --driver etcd is not supported: "), "{}", printed.err);
    let old = [
        "--experimental-api",
        "--etcd-key-prefix",
        "/x",
        "--endpoint",
        "/nonexistent/fleet.sock",
        "list-units",
    ];
    assert!(alone(&old).err.contains("does not answer"), "{:?}", alone(&old));
    // What hands get wrong with endpoints.
    for (endpoint, part) in [
        ("unix://var/run/fleet.sock", "unable to connect to host \"var\" with scheme \"unix\""),
        ("http://127.0.0.1:2379,http://127.0.0.1:4001", "appears to be etcd"),
        ("file:///nonexistent/fleet.sock,unix:///other", "only the first (file:///nonexistent/fleet.sock)"),
    ] {
        let printed = alone(&["--endpoint", endpoint, "list-units"]);
        assert!(printed.code == Some(1) && printed.err.contains(part), "{endpoint}: {printed:?}");
    }
    let signed = alone(&["submit", "--sign", "a.service"]);
    let expected = "WARNING: The signed/verified units feature is DEPRECATED and cannot be used.\n";
    assert_eq!((signed.code, signed.err.as_str()), (Some(2), expected));
    let printed = alone(&["--endpoint", "gopher://x", "list-units"]);
    assert!(printed.err.contains("is not unix:///path, https://host:port"), "{}", printed.err);
}

#[test]
fn a_units_life_in_fleets_words() {
    let Some(world) = World::start() else { return };
    world.write("a.service", PLAIN);
    assert_eq!(world.ok(&["submit", "a.service"]), "Unit a.service inactive\n");
    assert_eq!(world.ok(&["cat", "a"]), PLAIN);
    assert_eq!(
        world.ok(&["list-unit-files"]),
        "UNIT\t\tHASH\tDSTATE\t\tSTATE\t\tTARGET\n\
         a.service\t"
            .to_owned()
            + &world.ok(&["list-unit-files", "--no-legend", "--fields", "hash"]).trim_end()[..7]
            + "\tinactive\tinactive\t-\n"
    );
    assert_eq!(world.ok(&["load", "a.service"]), "Unit a.service loaded on 01234567.../10.0.0.1\n");
    assert!(world.supervisor.running().is_empty());
    // Without a suffix it is a service; what is submitted needs no file.
    std::fs::remove_file(world.dir.path().join("a.service")).expect("removes");
    assert_eq!(world.ok(&["start", "a"]), "Unit a.service launched on 01234567.../10.0.0.1\n");
    eventually("it runs", LIMIT, || world.ok(&["list-units", "--no-legend"]).contains("running"));
    assert_eq!(
        world.ok(&["list-units"]),
        "UNIT\t\tMACHINE\t\t\tACTIVE\tSUB\n\
         a.service\t01234567.../10.0.0.1\tactive\trunning\n"
    );
    let fields = ["list-units", "--full", "--no-legend", "--fields", "machine,load"];
    assert_eq!(world.ok(&fields), format!("{ID}/10.0.0.1\tloaded\n"));
    let why = world.ok(&["why", "a"]);
    assert!(why.contains("a.service") || why.contains("0123"), "{why}");

    let stopped = world.run(&["stop", "a"]);
    assert_eq!(stopped.out, "Unit a.service loaded on 01234567.../10.0.0.1\n");
    assert_eq!(stopped.err, "Successfully stopped units [a.service].\n");
    eventually("it is stopped", LIMIT, || world.supervisor.running().is_empty());
    assert_eq!(world.ok(&["start", "--no-block", "a"]), "Triggered unit a.service start\n");
    let restarted = world.ok(&["restart", "a"]);
    assert_eq!(
        restarted,
        "Unit a.service loaded on 01234567.../10.0.0.1\nUnit a.service launched on 01234567.../10.0.0.1\n"
    );
    assert_eq!(world.ok(&["unload", "a"]), "Unit a.service inactive\n");
    let refused = world.run(&["stop", "a"]);
    assert_eq!(refused.code, Some(1));
    assert_eq!(refused.err, "Unable to stop unit a.service in state inactive\n");
    let skipped = world.run(&["restart", "a"]);
    assert_eq!(skipped.code, Some(0), "as fleet: the others are restarted");
    assert_eq!(skipped.err, "Unable to restart unit a.service in state inactive\n");
    for (verb, words) in [("journal", "running"), ("status", "loaded")] {
        let refused = world.run(&[verb, "a"]);
        let expected = format!("Unit a.service does not appear to be {words}.\n");
        assert_eq!((refused.code, refused.err), (Some(1), expected), "{verb}");
        let refused = world.run(&[verb, "none"]);
        assert_eq!((refused.code, refused.err.as_str()), (Some(1), "Unit none.service does not exist.\n"));
    }
    assert_eq!(world.ok(&["destroy", "a"]), "Destroyed a.service\n");
    let gone = world.run(&["cat", "a"]);
    assert_eq!((gone.code, gone.err.as_str()), (Some(1), "Unit a.service not found\n"));
    assert_eq!(world.ok(&["list-unit-files", "--no-legend"]), "");
}

#[test]
fn lists_have_fleets_columns() {
    let Some(world) = World::start() else { return };
    assert_eq!(
        world.ok(&["list-machines"]),
        "MACHINE\t\tIP\t\tMETADATA\n01234567...\t10.0.0.1\tdisk=ssd,ram=1024,zone=a\n"
    );
    assert_eq!(world.ok(&["list-machines", "-l", "--no-legend", "--fields", "machine"]), format!("{ID}\n"));
    let json: Vec<serde_json::Value> =
        serde_json::from_str(&world.ok(&["list-machines", "--format", "json"])).expect("JSON");
    assert_eq!(json[0]["id"], ID);
    for list in ["list-machines", "list-units", "list-unit-files"] {
        let refused = world.run(&[list, "--fields", "unit,nonsense"]);
        let key = if list == "list-machines" { "unit" } else { "nonsense" };
        assert_eq!(refused.code, Some(1));
        let expected = format!("error: Invalid key in output format: \"{key}\"");
        assert!(refused.err.starts_with(&expected), "{}", refused.err);
        let refused = world.run(&[list, "--fields", ""]);
        assert_eq!((refused.code, refused.err.as_str()), (Some(1), "Must define output format\n"));
    }
    world.write("b.service", "[X-Fleet]\nGlobal=yes\n[Service]\nExecStart=/bin/sleep 9\n");
    world.write("a.service", PLAIN);
    assert_eq!(
        world.ok(&["start", "b.service"]).lines().last(),
        Some("Triggered global unit b.service start")
    );
    world.ok(&["submit", "a.service"]);
    let files = world.run(&["list-unit-files", "--no-legend", "--fields", "unit,global,state,tmachine,desc"]);
    assert_eq!(files.out, "a.service\tfalse\tinactive\t-\tsleeps\nb.service\ttrue\t-\t\tglobal\t-\n");
    assert_eq!(files.err, "WARNING: The \"tmachine\" field is deprecated. Use \"target\" instead\n");
    let some = world.run(&["list-unit-files", "--no-legend", "--max-print-units", "1", "--fields", "unit"]);
    assert_eq!(
        (some.out.as_str(), some.err.as_str()),
        ("a.service\n", "Further units after 1-th are omitted\n")
    );
    assert_eq!(world.ok(&["stop", "b"]), "Triggered global unit b.service stop\n");
}

#[test]
fn mistakes_are_told_in_a_sentence() {
    let Some(world) = World::start() else { return };
    for verb in ["submit", "load", "start", "stop", "unload", "restart", "destroy"] {
        let printed = world.run(&[verb]);
        let expected = Printed { code: Some(0), out: String::new(), err: "No units given\n".into() };
        assert_eq!(printed, expected, "{verb}");
    }
    let missing = world.run(&["start", "none.service"]);
    assert_eq!(missing.code, Some(1));
    let expected = "Error creating units: unable to find Unit(none.service) in Registry or on filesystem\n";
    assert_eq!(missing.err, expected);
    let missing = world.run(&["load", "none@1.service"]);
    let expected = "Error creating units: unable to find Unit(none@1.service) or template Unit(none@.service) \
                    in Registry or on filesystem\n";
    assert_eq!((missing.code, missing.err.as_str()), (Some(1), expected));
    for verb in ["stop", "unload", "restart", "destroy"] {
        let printed = world.run(&[verb, "none.service"]);
        let expected =
            Printed { code: Some(0), out: String::new(), err: "Units not found in registry\n".into() };
        assert_eq!(printed, expected, "{verb}");
    }
    for (args, expected) in [
        (&["ssh"][..], "Unable to proceed: one machine or unit must be provided\n"),
        (&["ssh", "nowhere"], "Unable to proceed: could not find matching unit or machine\n"),
        (
            &["ssh", "--machine", "0123", "--unit", "a"],
            "Both machine and unit flags provided, please specify only one.\n",
        ),
    ] {
        let refused = world.run(args);
        assert_eq!((refused.code, refused.err.as_str()), (Some(1), expected), "{args:?}");
    }
    for (text, part) in [
        ("[X-Fleet]\nNonsense=1\n", "Nonsense"),
        ("[X-Fleet]\nGlobal=true\nMachineOf=b.service\n", "Global"),
        ("[X-Fleet]\nMachineMetadata=zone\n", "zone"),
    ] {
        world.write("bad.service", text);
        for verb in ["submit", "verify"] {
            let refused = world.run(&[verb, "bad.service"]);
            assert_eq!(refused.code, Some(1), "{verb} {text}");
            let begins =
                if verb == "verify" { "error: bad.service: " } else { "Error creating units: bad.service: " };
            assert!(refused.err.starts_with(begins) && refused.err.contains(part), "{refused:?}");
        }
    }
    // What cannot be placed is told, and why, instead of waiting without a word.
    world.write("far.service", &format!("{PLAIN}\n[X-Fleet]\nMachineMetadata=zone=moon\n"));
    let waits = world.run(&["start", "--wait", "3", "far.service"]);
    assert_eq!(waits.code, Some(1), "{waits:?}");
    assert!(waits.err.contains("zone=moon"), "{waits:?}");
    assert!(world.ok(&["why", "far"]).contains("zone=moon"));
    let waits = world.run(&["start", "--block-attempts", "2", "far"]);
    let expected =
        "Error waiting for units: timed out waiting for unit far.service to report state launched\n";
    assert!(waits.code == Some(1) && waits.err.starts_with(expected), "{waits:?}");
}

#[test]
fn files_and_what_is_stored_may_differ() {
    let Some(world) = World::start() else { return };
    world.write("a.service", PLAIN);
    world.ok(&["start", "a.service"]);
    world.write("a.service", "[Service]\nExecStart=/bin/sleep 7\n");
    let differs = world.run(&["start", "a.service"]);
    assert_eq!(differs.code, Some(0));
    assert!(differs.err.contains("WARNING: Unit a.service in registry differs from local unit file"));
    assert_eq!(world.ok(&["cat", "a"]), PLAIN);
    let expected =
        "Warning: can not replace Unit(a.service) in state 'launched', use the appropriate command\n";
    for verb in ["submit", "load"] {
        let left = world.run(&[verb, "--replace", "a.service"]);
        let expected = Printed { code: Some(0), out: String::new(), err: expected.into() };
        assert_eq!(left, expected, "{verb}");
        assert_eq!(world.ok(&["cat", "a"]), PLAIN, "a refused replacement changes nothing");
    }
    assert!(world.supervisor.running().contains("a.service"), "nor does it stop anything");
    world.ok(&["start", "--replace", "a.service"]);
    assert_eq!(world.ok(&["cat", "a"]), "[Service]\nExecStart=/bin/sleep 7\n");
    let again = world.ok(&["start", "--replace", "a.service"]);
    assert!(again.starts_with("Found same Unit(a.service) in Registry, nothing to do\n"), "{again}");
    eventually("the new content runs", LIMIT, || {
        world.supervisor.text("a.service").is_some_and(|text| text.contains("sleep 7"))
            && world.supervisor.running().contains("a.service")
    });
}

#[test]
fn templates_are_scaled() {
    let Some(world) = World::start() else { return };
    world.write("w@.service", "[Service]\nExecStart=/bin/sleep %i\n");
    world.ok(&["submit", "w@.service"]);
    world.ok(&["scale", "w@", "3"]);
    let running = || world.supervisor.running().into_iter().collect::<Vec<_>>().join(" ");
    eventually("three run", LIMIT, || running() == "w@1.service w@2.service w@3.service");
    world.ok(&["scale", "w@", "1"]);
    eventually("one runs", LIMIT, || running() == "w@1.service");
    assert_eq!(world.ok(&["cat", "w@1"]), "[Service]\nExecStart=/bin/sleep %i\n");
    let refused = world.run(&["start", "w@.service"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("cannot activate template"), "{refused:?}");
    assert!(!world.ok(&["start", "w@7.service"]).is_empty(), "an instance is made of the stored template");
}

#[test]
fn a_machine_is_drained_and_events_tell_of_it() {
    let Some(world) = World::start() else { return };
    let mut events = world.command(&["events", "-f"]).stdout(Stdio::piped()).spawn().expect("fleetctl runs");
    let mut lines = BufReader::new(events.stdout.take().expect("a pipe")).lines();
    // The stream begins when it is answered: until then, events are not seen.
    let seen = std::thread::spawn(move || {
        lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(" state set a.service ")))
    });
    std::thread::sleep(Duration::from_secs(1));
    world.write("a.service", PLAIN);
    world.ok(&["start", "a.service"]);
    eventually("the event is told", LIMIT, || seen.is_finished());
    assert!(seen.join().expect("no panic").is_some());
    let _ = events.kill();
    let _ = events.wait();

    assert_eq!(world.ok(&["drain", "01234567..."]), format!("Machine {ID} drains\n"));
    eventually("it runs nothing", LIMIT, || world.supervisor.running().is_empty());
    assert!(world.ok(&["why", "a"]).contains("drain"));
    world.ok(&["undrain", "0123"]);
    eventually("it runs again", LIMIT, || !world.supervisor.running().is_empty());
    assert_eq!(world.run(&["drain", "fff"]).code, Some(1));
}

/// The ssh server of our machines, which lets one key in; it ends with this value.
struct Sshd {
    child: std::process::Child,
    agent: std::process::Child,
    port: u16,
    socket: PathBuf,
}

impl Sshd {
    /// Nothing where it is not built, or there is no ssh.
    fn start(dir: &std::path::Path) -> Option<Self> {
        let test = std::env::current_exe().ok()?;
        let program = test.parent()?.parent()?.join("hostos-sshd");
        let key = dir.join("key");
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
        if !program.exists() || !made.is_ok_and(|it| it.success()) {
            println!("skipped: needs ssh, and {} to be built", program.display());
            return None;
        }
        let home = dir.join("home");
        std::fs::create_dir_all(home.join(".ssh")).expect("a directory");
        std::fs::copy(dir.join("key.pub"), home.join(".ssh/authorized_keys")).expect("copies");
        let shell = dir.join("shell");
        let fleetctl =
            std::path::Path::new(env!("CARGO_BIN_EXE_fleetctl")).parent().expect("a folder").display();
        std::fs::write(&shell, format!("#!/bin/sh\nPATH={fleetctl}:$PATH exec /bin/sh \"$@\"\n"))
            .expect("writes");
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&shell, std::fs::Permissions::from_mode(0o755)).expect("executable");
        let user = |flag: &str| {
            let output = Command::new("id").arg(flag).output().expect("id runs");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let line = format!("core:x:{}:{}::{}:{}\n", user("-u"), user("-g"), home.display(), shell.display());
        std::fs::write(dir.join("passwd"), line).expect("writes");
        let port = fleet_testbed::free_port();
        let child = Command::new(program)
            .args(["--listen", &format!("127.0.0.1:{port}"), "--accounts"])
            .arg(dir)
            .arg("--host-key")
            .arg(dir.join("host_key"))
            .stderr(std::fs::File::create(dir.join("sshd.log")).expect("a log"))
            .spawn()
            .expect("sshd starts");
        let socket = dir.join("agent");
        let agent = Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn();
        let sshd = Self { child, agent: agent.expect("ssh-agent starts"), port, socket };
        eventually("the agent has the key", LIMIT, || {
            let mut add = Command::new("ssh-add");
            add.arg("-q").arg(&key).env("SSH_AUTH_SOCK", &sshd.socket).stderr(Stdio::null());
            add.status().is_ok_and(|it| it.success())
        });
        eventually("sshd listens", LIMIT, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(sshd)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        for child in [&mut self.child, &mut self.agent] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_tunnel_goes_over_ssh() {
    let Some(world) = World::start() else { return };
    let Some(sshd) = Sshd::start(world.dir.path()) else { return };
    let known = world.dir.path().join("known_hosts");
    let through = |checking: &str, args: &[&str]| {
        let mut command = world.command(&["--tunnel", &format!("127.0.0.1:{}", sshd.port)]);
        command.args(["--known-hosts-file", &known.display().to_string(), "--request-timeout", "20"]);
        command.args(["--strict-host-key-checking", checking]).args(args).env("SSH_AUTH_SOCK", &sshd.socket);
        printed(command.stdin(Stdio::null()))
    };
    let refused = through("true", &["list-machines"]);
    assert_eq!(refused.code, Some(1), "a host that is not known is refused: {refused:?}");
    assert!(refused.err.contains("Host key verification failed"), "{refused:?}");
    let direct = world.ok(&["list-machines"]);
    assert_eq!(through("false", &["list-machines"]).out, direct);
    assert_eq!(through("true", &["list-machines"]).out, direct, "it is known now");
    world.write("a.service", PLAIN);
    let started = through("true", &["start", "a.service"]);
    assert_eq!(
        started.out.lines().last(),
        Some("Unit a.service launched on 01234567.../10.0.0.1"),
        "{started:?}"
    );
    assert_eq!(through("true", &["destroy", "a.service"]).out, "Destroyed a.service\n");
}
