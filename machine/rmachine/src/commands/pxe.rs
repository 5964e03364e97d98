//! `rmachine pxe`: bare machines boot from the network into a cluster, once somebody approved them.

mod host;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use host::ClusterHost;
use machine_pxe::groups::Groups;
use machine_pxe::{Approval, Book, Config, Known, Mac, Progress, Release, Site, sockets, wire};
use machine_types::MachineName;

use crate::cluster::{self, kv::Kv};
use crate::commands::tools::only_cluster;
use crate::context::Context;
use crate::failure::Failure;
use crate::table::align;
use crate::{image, switch};

/// Words of `pxe`.
#[derive(Debug, Args)]
pub(crate) struct Pxe {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Answer machines that boot from the network, until Ctrl-C
    Serve(Serve),
    /// List machines that asked, and how far they came
    Ls(Cluster),
    /// Let a machine boot
    Approve(Approve),
    /// Forget a machine; it may not boot any more
    Forget(Forget),
}

#[derive(Debug, Args)]
struct Cluster {
    /// Cluster that the machines join [default: the only one]
    #[arg(long, value_name = "NAME")]
    cluster: Option<MachineName>,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    cluster: Cluster,
    /// Serve a network of this workstation at this address of it, instead of
    /// the cluster's switch; needs privileges
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<Ipv4Addr>,
    /// Port of HTTP with --listen
    #[arg(long, default_value_t = 80, value_name = "PORT")]
    http_port: u16,
    /// Leave addresses to the network's own DHCP server
    #[arg(long, requires = "listen")]
    proxy: bool,
    /// Let every machine boot that asks
    #[arg(long)]
    any: bool,
    /// Folder with matchbox's groups, profiles, ignition, generic and assets
    #[arg(long, value_name = "DIR")]
    matchbox: Option<PathBuf>,
    /// Image to boot: a folder, or an id or version in the store
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Further words for the kernel command line
    #[arg(long, default_value = "", value_name = "WORDS", allow_hyphen_values = true)]
    cmdline: String,
}

#[derive(Debug, Args)]
struct Approve {
    #[command(flatten)]
    cluster: Cluster,
    /// Hardware address of the machine
    mac: Mac,
    /// What to call it
    #[arg(long, value_name = "NAME")]
    name: Option<MachineName>,
    /// For its next boot only
    #[arg(long)]
    once: bool,
}

#[derive(Debug, Args)]
struct Forget {
    #[command(flatten)]
    cluster: Cluster,
    /// Hardware address of the machine
    mac: Mac,
}

/// Where Debian's `ipxe` and QEMU keep iPXE.
const LOADERS: [&str; 3] = ["/usr/lib/ipxe", "/boot", "/usr/share/ipxe"];
/// Ours on the switch; the switch itself is 1.
const HOST: u8 = 2;

pub(crate) fn run(context: &Context, args: &Pxe) -> Result<ExitCode, Failure> {
    match &args.verb {
        Verb::Serve(args) => serve(context, args),
        Verb::Ls(args) => list(context, &only_cluster(context, args.cluster.as_ref())?),
        Verb::Approve(args) => {
            let path = book(context, &only_cluster(context, args.cluster.cluster.as_ref())?);
            let approval = if args.once { Approval::Once } else { Approval::Always };
            let name = args.name.as_ref().map(ToString::to_string);
            update(&path, |book| book.approve(args.mac, name, approval))?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Forget(args) => {
            let name = only_cluster(context, args.cluster.cluster.as_ref())?;
            let gone = update(&book(context, &name), |book| book.machines.remove(&args.mac))?;
            let gone = gone.ok_or_else(|| Failure::new(format!("no machine {} is known", args.mac)))?;
            let _lock = cluster::lock(context, &name)?;
            let mut kept = cluster::load(context, &name)?;
            kept.members.retain(|_, member| member.mac.as_deref() != Some(&gone.mac.to_string()));
            cluster::save(context, &kept)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn serve(context: &Context, args: &Serve) -> Result<ExitCode, Failure> {
    let name = only_cluster(context, args.cluster.cluster.as_ref())?;
    let kept = cluster::load(context, &name)?;
    let image = image::choose(context, args.image.as_deref())?;
    let read = |path: PathBuf| Ok::<_, Failure>(machine_store::read(&path)?.into());
    let release = Release {
        kernel: read(image.kernel())?,
        initramfs: read(image.initramfs())?,
        cmdline: image.manifest.cmdline.clone(),
    };
    let [a, b, c, _] = kept.network.octets();
    let server = args.listen.unwrap_or(Ipv4Addr::new(a, b, c, HOST));
    let port = if args.listen.is_some() && args.http_port != 80 {
        format!(":{}", args.http_port)
    } else {
        String::new()
    };
    let config = Config {
        server,
        base: format!("http://{server}{port}"),
        proxy: args.proxy,
        any: args.any,
        book: book(context, &name),
        matchbox: args.matchbox.clone(),
        loaders: LOADERS.iter().map(PathBuf::from).collect(),
        cmdline: args.cmdline.clone(),
    };
    let groups = match &args.matchbox {
        Some(dir) => {
            Groups::load(dir).map_err(|error| Failure::because("the groups are unusable", &error))?
        }
        None => Groups::default(),
    };
    let host = ClusterHost::new(context.again()?, name.clone());
    let site = Site::new(config, groups, release, Box::new(host));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| accompany(context, &name, &stop));
        let served = match args.listen {
            Some(address) => serve_sockets(&site, address, args, &stop, &name),
            None => serve_switch(context, &site, &stop, &name),
        };
        stop.store(true, Ordering::SeqCst);
        served
    })?;
    Ok(ExitCode::SUCCESS)
}

fn serve_sockets(
    site: &Site,
    address: Ipv4Addr,
    args: &Serve,
    stop: &AtomicBool,
    name: &MachineName,
) -> Result<(), Failure> {
    let sockets = sockets::Sockets::bind(address, args.http_port, args.proxy).map_err(|error| {
        Failure::because("the network is not served", &error)
            .hint("those ports need privileges and must be free; see `ss -lunp`")
    })?;
    eprintln!("serving machines of cluster {name} on {address}");
    sockets.serve(site, stop);
    Ok(())
}

fn serve_switch(
    context: &Context,
    site: &Site,
    stop: &AtomicBool,
    name: &MachineName,
) -> Result<(), Failure> {
    let stream = switch::connect(context, name)?;
    let marker = context.store.cluster(name).join(cluster::PXE);
    machine_store::write_atomic(&marker, format!("{}\n", site.server()).as_bytes(), 0o600)?;
    eprintln!("serving machines on the switch of cluster {name} as {}", site.server());
    let served = wire::serve(site, stream, stop)
        .map_err(|error| Failure::because(format!("the switch of cluster `{name}` is gone"), &error));
    // Without us the switch gives addresses to firmware as well.
    let _ = std::fs::remove_file(&marker);
    if stop.load(Ordering::SeqCst) { Ok(()) } else { served }
}

/// Tells how far machines come, and notes which the cluster sees; throws the switch at Ctrl-C.
fn accompany(context: &Context, name: &MachineName, stop: &AtomicBool) {
    let path = book(context, name);
    let mut told = std::collections::BTreeMap::new();
    let mut turn = 0_u32;
    while !stop.load(Ordering::SeqCst) {
        if context.cancel().is_cancelled() {
            stop.store(true, Ordering::SeqCst);
            return;
        }
        thread::sleep(Duration::from_millis(100));
        turn += 1;
        let Ok(seen) = Book::read(&path) else { continue };
        for known in seen.machines.values() {
            let state = (known.progress, known.approval);
            if told.insert(known.mac, state) != Some(state) {
                eprintln!("{} {}: {}", known.mac, known.name.as_deref().unwrap_or("-"), sentence(known));
            }
        }
        let waits = seen.machines.values().any(|known| known.progress == Progress::Configured);
        if waits && turn.is_multiple_of(10) {
            note_joined(context, name, &path);
        }
    }
}

fn note_joined(context: &Context, name: &MachineName, path: &Path) {
    let Ok(machines) = Kv::of(context, name).and_then(|kv| kv.fleet("/fleet/v1/machines")) else { return };
    let ids: Vec<&str> =
        machines["machines"].as_array().into_iter().flatten().filter_map(|it| it["id"].as_str()).collect();
    let noted = Book::update(path, |book| {
        for known in book.machines.values_mut().filter(|known| known.progress == Progress::Configured) {
            if ids.contains(&known.machine_id().simple().to_string().as_str()) {
                known.did(Progress::Joined, "joined the cluster", now());
            }
        }
    });
    if let Err(error) = noted {
        tracing::warn!(%error, "the book of machines cannot be used");
    }
}

fn list(context: &Context, name: &MachineName) -> Result<ExitCode, Failure> {
    let mut lines = vec![["MAC", "NAME", "ADDRESS", "STATE", "SEEN", "LAST"].map(str::to_owned).to_vec()];
    for known in known(context, name) {
        lines.push(vec![
            known.mac.to_string(),
            known.name.clone().unwrap_or_else(|| "-".into()),
            known.address.map_or_else(|| "-".into(), |address| address.to_string()),
            format!("{:?}", known.progress).to_lowercase(),
            format!("{} s ago", now().saturating_sub(known.seen)),
            sentence(&known),
        ]);
    }
    put!("{}", align(&lines));
    Ok(ExitCode::SUCCESS)
}

/// Machines that asked to boot into a cluster.
pub(crate) fn known(context: &Context, name: &MachineName) -> Vec<Known> {
    let read = Book::read(&book(context, name)).unwrap_or_default();
    read.machines.into_values().collect()
}

/// What a person wants to know of it.
pub(crate) fn sentence(known: &Known) -> String {
    match known.approval {
        Approval::No if known.progress == Progress::Discovered => {
            format!("waits; approve it with `rmachine pxe approve {}`", known.mac)
        }
        _ => known.did.clone(),
    }
}

fn book(context: &Context, name: &MachineName) -> PathBuf {
    context.store.cluster(name).join("pxe.json")
}

fn update<T>(path: &Path, work: impl FnOnce(&mut Book) -> T) -> Result<T, Failure> {
    Book::update(path, work)
        .map_err(|error| Failure::because(format!("could not change {}", path.display()), &error))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
