//! `cargo xtask demo`: the product in a minute, from nothing to a machine that answers the stock
//! docker client, and back to nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hostos_api::Report;

use crate::progress::Progress;
use crate::{cargo, image, setup};

/// Flags of `demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave the machine running and tell how to use it
    #[arg(long)]
    keep: bool,
}

/// Shows the product; the machine is removed whatever happens, unless it is to be kept.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut progress = Progress::new();
    progress.stage("setup", || setup::run(&setup::Args::default()))?;
    image::build(&image::Args::default(), &mut progress)?;
    let demo = Demo::new()?;
    let outcome = demo.story(&mut progress);
    if args.keep && outcome.is_ok() {
        println!("worker1 runs. Try:  eval $({} env worker1); docker version", demo.shown());
    } else {
        let removed = progress.stage("remove", || demo.rmachine(&["rm", "-f", "worker1"]).map(drop));
        outcome.and(removed)?;
    }
    progress.print_table();
    Ok(())
}

struct Demo {
    store: PathBuf,
}

impl Demo {
    fn new() -> Result<Self> {
        let store = cargo::target_dir().join("demo");
        std::fs::create_dir_all(&store).with_context(|| format!("could not make {}", store.display()))?;
        let demo = Self { store };
        // What an interrupted demo left behind.
        demo.rmachine(&["rm", "-f", "worker1"])?;
        Ok(demo)
    }

    fn story(&self, progress: &mut Progress) -> Result<()> {
        progress.stage("create", || {
            cargo::run(self.command(&["create", "-d", "qemu", "worker1"]).stdout(Stdio::inherit()))
        })?;
        for (stage, uptime) in self.boot_stages()? {
            progress.note(&format!("  guest since kernel start: {stage}"), uptime);
        }
        progress.stage("list", || {
            print!("{}", self.rmachine(&["ls"])?);
            Ok(())
        })?;
        progress.stage("docker version", || self.docker_version())?;
        progress.stage("ssh", || {
            print!("{}", self.rmachine(&["ssh", "worker1", "cat /etc/os-release"])?);
            Ok(())
        })
    }

    /// What the guest reported, by its own clock.
    fn boot_stages(&self) -> Result<Vec<(String, Duration)>> {
        let reports = self.rmachine(&["logs", "--log", "stages", "worker1"])?;
        let stage = |line: &str| match Report::from_line(line)? {
            Report::Stage { stage, uptime_ms, .. } => {
                Some((format!("{stage:?}").to_lowercase(), Duration::from_millis(uptime_ms)))
            }
            Report::Ready { uptime_ms, .. } => Some(("ready".to_owned(), Duration::from_millis(uptime_ms))),
            _ => None,
        };
        Ok(reports.lines().filter_map(stage).collect())
    }

    /// The stock client where there is one, over mutual TLS; else the API through `rmachine`.
    fn docker_version(&self) -> Result<()> {
        let env = self.rmachine(&["env", "--shell", "sh", "worker1"])?;
        let began = Instant::now();
        let script = format!("{env}\nexec docker version");
        let mut docker = Command::new("sh");
        docker.args(["-c", &script]);
        match which("docker") {
            Some(_) => {
                let printed = cargo::output(&mut docker)?;
                print!("{printed}");
                if !printed.contains("Server:") {
                    bail!("`docker version` printed no server part after {:?}", began.elapsed());
                }
                Ok(())
            }
            None => {
                eprintln!("    no docker client on this machine: asking the machine's own instead");
                print!("{}", self.rmachine(&["ssh", "worker1", "docker version"])?);
                Ok(())
            }
        }
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
