//! `rmachine port`: ways into a machine, opened and closed while it runs. On loopback unless told
//! otherwise.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use machine_core::driver::{Forward, Protocol};

use crate::commands::power::locked;
use crate::context::Context;
use crate::failure::Failure;
use crate::machine::{Machine, READY_LIMIT, known, name_or_default};
use crate::progress::Printer;
use crate::table::align;

/// What to do with ports.
#[derive(Debug, Args)]
pub(crate) struct Port {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Open a port of a machine on this workstation
    Add(Change),
    /// List the ports of a machine
    Ls(List),
    /// Close a port
    Rm(Change),
}

#[derive(Debug, Args)]
struct Change {
    /// Name of the machine
    name: String,
    /// [[ADDRESS:]PORT-HERE:]PORT-THERE[/udp]
    #[arg(value_name = "PORT", required = true)]
    ports: Vec<String>,
}

#[derive(Debug, Args)]
struct List {
    /// Name of the machine [default: default]
    name: Option<String>,
    /// Print a table, or json
    #[arg(long, default_value = "table")]
    format: String,
}

pub(crate) fn run(context: &Context, args: &Port) -> Result<ExitCode, Failure> {
    match &args.verb {
        Verb::Add(change) => add(context, change)?,
        Verb::Ls(list) => ls(context, list)?,
        Verb::Rm(change) => rm(context, change)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn add(context: &Context, change: &Change) -> Result<(), Failure> {
    let name = known(&change.name)?;
    let (mut machine, _lock) = locked(context, &name)?;
    let printer = Printer::new(&name);
    for text in &change.ports {
        let wanted = parse(text)?;
        let mut opened = None;
        machine.drive(context, &printer, READY_LIMIT, |driver, session| {
            opened = Some(driver.add_forward(session, wanted)?);
            Ok(())
        })?;
        if let Some(Forward { host_address, host_port, .. }) = opened {
            if host_port == 0 {
                say!("{host_address}:(chosen at the next start)");
            } else {
                say!("{host_address}:{host_port}");
            }
        }
    }
    Ok(())
}

fn rm(context: &Context, change: &Change) -> Result<(), Failure> {
    let name = known(&change.name)?;
    let (mut machine, _lock) = locked(context, &name)?;
    let printer = Printer::new(&name);
    for text in &change.ports {
        let wanted = parse(text)?;
        let same = |open: &&Forward| {
            open.guest_port == wanted.guest_port
                && open.protocol == wanted.protocol
                && (wanted.host_port == 0 || open.host_port == wanted.host_port)
        };
        let found = machine.driver.forwards().iter().find(same).cloned().ok_or_else(|| {
            Failure::new(format!("machine `{}` has no such port open: {text}", change.name))
                .hint(format!("see them with `rmachine port ls {}`", change.name))
        })?;
        machine.drive(context, &printer, READY_LIMIT, |driver, session| {
            driver.remove_forward(session, &found)
        })?;
    }
    Ok(())
}

fn ls(context: &Context, list: &List) -> Result<(), Failure> {
    let name = name_or_default(context, list.name.as_ref())?;
    let forwards = Machine::load(context, &name)?.driver.forwards();
    match list.format.as_str() {
        "json" => say!("{}", serde_json::to_string(&forwards).expect("forwards are plain JSON")),
        "table" => {
            let mut lines = vec![["HERE", "THERE"].map(str::to_owned).to_vec()];
            lines.extend(forwards.iter().map(|forward| {
                vec![
                    format!("{}:{}", forward.host_address, forward.host_port),
                    format!("{}/{}", forward.guest_port, forward.protocol),
                ]
            }));
            put!("{}", align(&lines));
        }
        other => return Err(Failure::new(format!("`{other}` is no format: use table or json"))),
    }
    Ok(())
}

/// `[[ADDRESS:]HOST:]GUEST[/PROTOCOL]`; a host port of 0 is chosen.
fn parse(text: &str) -> Result<Forward, Failure> {
    let wrong =
        || Failure::new(format!("`{text}` is no port")).hint("write [[ADDRESS:]PORT-HERE:]PORT-THERE[/udp]");
    let (ports, protocol) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.split('/').next().unwrap_or_default(), Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some(_) => return Err(wrong()),
    };
    let (rest, guest) = ports.rsplit_once(':').map_or((None, ports), |(rest, guest)| (Some(rest), guest));
    let (address, host) = match rest {
        None => (None, "0"),
        Some(rest) => rest.rsplit_once(':').map_or((None, rest), |(address, host)| (Some(address), host)),
    };
    let guest_port: u16 = guest.parse().map_err(|_| wrong())?;
    if guest_port == 0 {
        return Err(wrong());
    }
    Ok(Forward {
        protocol,
        host_address: match address {
            // QEMU's own network forwards IPv4 only.
            Some(address) => IpAddr::V4(address.parse::<Ipv4Addr>().map_err(|_| wrong())?),
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        },
        host_port: host.parse().map_err(|_| wrong())?,
        guest_port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_on_loopback_unless_told_otherwise() {
        let shown = |text: &str| parse(text).map(|forward| forward.to_string());
        assert_eq!(shown("80").expect("a port"), "127.0.0.1:0 -> 80/tcp");
        assert_eq!(shown("8080:80/udp").expect("a port"), "127.0.0.1:8080 -> 80/udp");
        assert_eq!(shown("0.0.0.0:8080:80/tcp").expect("a port"), "0.0.0.0:8080 -> 80/tcp");
        for bad in ["", "0", "x", "80/sctp", "1:2:3:4", "70000", "host:1:2", ":80"] {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }
}
