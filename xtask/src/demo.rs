//! `cargo xtask demo`: the product in minutes, from nothing to a cluster that survives the loss of a
//! machine and takes in a bare one, and back to nothing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hostos_api::Report;

use crate::progress::Progress;
use crate::{cargo, image, setup};

/// Flags of `demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the machines running and tell how to use them
    #[arg(long)]
    keep: bool,
}

const CLUSTER: &str = "demo";
const MACHINES: [&str; 3] = ["worker1", "worker2", "worker3"];
/// For everything that waits: two cores under an emulator are slow.
const PATIENCE: Duration = Duration::from_secs(240);
const BARE: &str = "52:54:00:64:65:6d";
const UNIT: &str = "[Unit]\nDescription=Says hello\n\n[Service]\nExecStart=/bin/sh -c 'while true; do echo hello; sleep 2; done'\n";

/// Shows the product; everything is removed whatever happens, unless it is to be kept.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut progress = Progress::new();
    progress.stage("setup", || setup::run(&setup::Args::default()))?;
    image::build(&image::Args::default(), &mut progress)?;
    let demo = Demo::new()?;
    let began = Instant::now();
    let outcome = demo.story(&mut progress);
    progress.note("  all of it once built", began.elapsed());
    if args.keep && outcome.is_ok() {
        println!("The cluster runs. Try:  {} status --cluster {CLUSTER}", demo.shown());
    } else {
        let removed = progress.stage("remove", || demo.remove());
        outcome.and(removed)?;
    }
    progress.print_table();
    Ok(())
}

struct Demo {
    store: PathBuf,
}

/// A process that ends with the demo.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Demo {
    fn new() -> Result<Self> {
        let store = cargo::target_dir().join("demo");
        std::fs::create_dir_all(&store).with_context(|| format!("could not make {}", store.display()))?;
        let demo = Self { store };
        // What an interrupted demo left behind.
        demo.remove()?;
        Ok(demo)
    }

    fn remove(&self) -> Result<()> {
        if self.rmachine(&["cluster", "ls", "-q"])?.lines().any(|name| name == CLUSTER) {
            self.rmachine(&["cluster", "rm", "-f", CLUSTER])?;
        }
        self.rmachine(&[&["rm", "-f"], &MACHINES[..]].concat()).map(drop)
    }

    fn story(&self, progress: &mut Progress) -> Result<()> {
        progress.stage("create three machines", || {
            let create = ["create", "-d", "qemu", "--timeout", "300", "--cluster", CLUSTER];
            cargo::run(self.command(&[&create[..], &MACHINES].concat()).stdout(Stdio::inherit()))
        })?;
        for (stage, uptime) in self.boot_stages()? {
            progress.note(&format!("  {} since kernel start: {stage}", MACHINES[0]), uptime);
        }
        progress.stage("cluster health", || self.show(&["status", "--cluster", CLUSTER]))?;
        progress.stage("a container by the stock docker client", || self.container())?;
        progress.stage("a key by kvctl", || {
            self.show(&["kvctl", "--", "put", "greeting", "hello from kvctl"])?;
            self.show(&["kvctl", "--", "get", "greeting"])
        })?;
        let unit = self.store.join("hello@.service");
        std::fs::write(&unit, UNIT)?;
        progress.stage("a unit, scaled to three", || {
            self.show(&["fleetctl", "--", "submit", &unit.to_string_lossy()])?;
            self.show(&["fleetctl", "--", "scale", "hello@", "3"])?;
            self.eventually("three instances run", || self.running().is_ok_and(|on| on.len() == 3))?;
            self.show(&["fleetctl", "--", "list-units"])
        })?;
        progress.stage("one machine killed: its unit moves", || {
            self.rmachine(&["kill", MACHINES[2]])?;
            let began = Instant::now();
            self.eventually("its instance runs elsewhere", || {
                self.running().is_ok_and(|on| on.len() == 3 && !on.iter().any(|name| name == MACHINES[2]))
            })?;
            println!("    moved {:.1} s after the kill", began.elapsed().as_secs_f64());
            self.show(&["fleetctl", "--", "list-units"])
        })?;
        progress.stage("everything healed", || {
            self.rmachine(&["start", "--timeout", "300", MACHINES[2]])?;
            self.eventually("the cluster is healthy", || {
                self.rmachine(&["status", "--cluster", CLUSTER]).is_ok()
            })?;
            self.show(&["status", "--cluster", CLUSTER])
        })?;
        progress.stage("a bare machine joins over the network", || self.bare_machine())
    }

    fn bare_machine(&self) -> Result<()> {
        let _server = Ends(self.command(&["pxe", "serve", "--cluster", CLUSTER]).spawn()?);
        self.rmachine(&["pxe", "approve", BARE, "--name", "metal1"])?;
        let device = format!("virtio-net-pci,netdev=n0,mac={BARE},bootindex=0");
        let netdev =
            format!("stream,id=n0,server=off,addr.type=unix,addr.path=clusters/{CLUSTER}/switch.sock");
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-machine", "q35", "-cpu", "max", "-m", "1024", "-display", "none", "-serial", "null"]);
        qemu.args(["-nodefaults", "-netdev", &netdev, "-device", &device, "-device", "virtio-rng-pci"]);
        let _bare = Ends(qemu.current_dir(&self.store).stdin(Stdio::null()).spawn().context("no QEMU")?);
        self.eventually("metal1 is in the fleet", || {
            self.rmachine(&["fleetctl", "--", "list-machines"])
                .is_ok_and(|text| text.contains("provider=pxe"))
        })?;
        self.show(&["pxe", "ls"])?;
        self.show(&["fleetctl", "--", "list-machines"])
    }

    /// What the guest reported, by its own clock.
    fn boot_stages(&self) -> Result<Vec<(String, Duration)>> {
        let reports = self.rmachine(&["logs", "--log", "stages", MACHINES[0]])?;
        let stage = |line: &str| match Report::from_line(line)? {
            Report::Stage { stage, uptime_ms, .. } => {
                Some((format!("{stage:?}").to_lowercase(), Duration::from_millis(uptime_ms)))
            }
            Report::Ready { uptime_ms, .. } => Some(("ready".to_owned(), Duration::from_millis(uptime_ms))),
            _ => None,
        };
        Ok(reports.lines().filter_map(stage).collect())
    }

    /// The machines that instances of the unit are active on.
    fn running(&self) -> Result<Vec<String>> {
        let mut command = self.command(&["status", "--cluster", CLUSTER, "--format", "json"]);
        // It ends with 1 while anything is wrong, and tells all the same.
        let output = command.stderr(Stdio::null()).output().context("no rmachine")?;
        let seen: serde_json::Value = serde_json::from_slice(&output.stdout).context("no status")?;
        let machines = seen["Machines"].as_array().cloned().unwrap_or_default();
        let units = seen["Units"].as_array().cloned().unwrap_or_default();
        let active = units.iter().filter(|unit| unit["systemdActiveState"] == "active");
        let named = active.filter_map(|unit| machines.iter().find(|it| it["Id"] == unit["machineID"]));
        Ok(named.filter_map(|machine| Some(machine["Name"].as_str()?.to_owned())).collect())
    }

    /// The stock client where there is one, over mutual TLS; else the machine's own.
    fn container(&self) -> Result<()> {
        let busybox = "/bin/busybox";
        if which("docker").is_none() || !Path::new(busybox).exists() {
            eprintln!("    no docker client or no busybox on this machine: asking the machine's own instead");
            return self.show(&["ssh", MACHINES[0], "docker version"]);
        }
        let env = self.rmachine(&["env", "--shell", "sh", MACHINES[0]])?;
        let script = format!(
            "{env}\nset -e\ndocker version\ntar -C / -c {} | docker import - demo/busybox\n\
             docker run --rm demo/busybox {busybox} echo 'hello from a container'",
            busybox.trim_start_matches('/')
        );
        let mut docker = Command::new("sh");
        let printed = cargo::output(docker.args(["-c", &script]))?;
        print!("{printed}");
        if printed.contains("Server:") && printed.contains("hello from a container") {
            Ok(())
        } else {
            bail!("docker did not print what it should")
        }
    }

    fn eventually(&self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
        let began = Instant::now();
        while !is_so() {
            if began.elapsed() > PATIENCE {
                bail!("not within {} s: {what}", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        Ok(())
    }

    /// Runs `rmachine` and shows what it prints.
    fn show(&self, words: &[&str]) -> Result<()> {
        print!("{}", self.rmachine(words)?);
        Ok(())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(image::rmachine());
        command.arg("-s").arg(&self.store).args(words);
        command
    }

    fn rmachine(&self, words: &[&str]) -> Result<String> {
        cargo::output(&mut self.command(words))
    }

    fn shown(&self) -> String {
        format!("{} -s {}", relative(&image::rmachine()), relative(&self.store))
    }
}

fn relative(path: &Path) -> String {
    path.strip_prefix(cargo::root()).unwrap_or(path).display().to_string()
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}
