//! `rmachine env`: shell commands that point docker clients to a machine.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use machine_driver_qemu::{FLEET_PORT, KV_PORT};
use machine_types::{MachineName, State};

use crate::cluster;
use crate::commands::config::{reach, refuse_swarm};
use crate::context::Context;
use crate::failure::Failure;
use crate::machine::{Machine, name_or_default};

/// Flags of `env`.
#[derive(Debug, Args)]
pub(crate) struct Env {
    /// Name of the machine [default: default]
    name: Option<String>,
    /// Point to the swarm master instead: refused, its protocol is gone
    #[arg(long, hide = true)]
    swarm: bool,
    /// Shell to print for: sh, fish, cmd, powershell, tcsh, emacs [default: $SHELL]
    #[arg(long)]
    shell: Option<String>,
    /// Unset the variables instead
    #[arg(long, short)]
    unset: bool,
    /// Add the machine's address to NO_PROXY
    #[arg(long)]
    no_proxy: bool,
    /// Point fleetctl to the machine's cluster instead
    #[arg(long)]
    fleet: bool,
    /// Point etcdctl and kvctl to the machine's cluster instead
    #[arg(long)]
    kv: bool,
}

const VARIABLES: [&str; 4] = ["DOCKER_TLS_VERIFY", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_MACHINE_NAME"];

/// What fleetctl and etcdctl read; the first four are fleetctl's.
const CLUSTER_VARIABLES: [&str; 9] = [
    "FLEETCTL_ENDPOINT",
    "FLEETCTL_CA_FILE",
    "FLEETCTL_CERT_FILE",
    "FLEETCTL_KEY_FILE",
    "ETCDCTL_API",
    "ETCDCTL_ENDPOINTS",
    "ETCDCTL_CACERT",
    "ETCDCTL_CERT",
    "ETCDCTL_KEY",
];

/// What points the clients of a cluster to it; `first` is the machine that fleetctl talks to.
pub(crate) fn cluster_variables(
    context: &Context,
    cluster: &MachineName,
    first: Option<&MachineName>,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let machines = cluster::machines(context, cluster)?;
    let runs =
        |machine: &&Machine| machine.state(Duration::from_secs(2)).is_ok_and(|state| state == State::Running);
    let running: Vec<&Machine> = machines.iter().filter(runs).collect();
    let wanted = |machine: &&&Machine| first.is_none_or(|first| machine.record.name == *first);
    let fleet = running.iter().filter(wanted).find_map(|machine| cluster::endpoint(machine, FLEET_PORT));
    let kv: Vec<String> = running
        .iter()
        .filter_map(|machine| Some(format!("https://{}", cluster::endpoint(machine, KV_PORT)?)))
        .collect();
    let (Some(fleet), false) = (fleet, kv.is_empty()) else {
        let what = first.map_or_else(
            || format!("no machine of cluster `{cluster}`"),
            |name| format!("`{name}`, of cluster `{cluster}`, or none of its machines"),
        );
        return Err(Failure::new(format!("{what} runs")).hint("start machines with `rmachine start`"));
    };
    let file = |name: &str| context.store.cluster(cluster).join(name).display().to_string();
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(file);
    let values = [
        format!("https://{fleet}"),
        ca.clone(),
        cert.clone(),
        key.clone(),
        "3".into(),
        kv.join(","),
        ca,
        cert,
        key,
    ];
    Ok(CLUSTER_VARIABLES.into_iter().zip(values).collect())
}

/// For `--fleet` and `--kv`.
fn print_cluster(context: &Context, args: &Env, shell: Shell) -> Result<(), Failure> {
    let wanted = |variable: &str| if variable.starts_with("FLEETCTL") { args.fleet } else { args.kv };
    if args.unset {
        CLUSTER_VARIABLES.iter().filter(|it| wanted(it)).for_each(|it| say!("{}", shell.unset(it)));
    } else {
        let name = name_or_default(context, args.name.as_ref())?;
        let machine = Machine::load(context, &name)?;
        let cluster = machine.record.host_options.cluster.ok_or_else(|| {
            Failure::new(format!("machine `{name}` is in no cluster"))
                .hint("make machines of a cluster with `rmachine create --cluster NAME …`")
        })?;
        for (variable, value) in cluster_variables(context, &cluster, Some(&name))? {
            if wanted(variable) {
                say!("{}", shell.set(variable, &value));
            }
        }
    }
    put!("{}", shell.usage(&command_line()));
    Ok(())
}

pub(crate) fn run(context: &Context, args: &Env) -> Result<ExitCode, Failure> {
    refuse_swarm(args.swarm)?;
    let shell = Shell::of(args.shell.as_deref(), std::env::var("SHELL").ok().as_deref());
    if args.fleet || args.kv {
        print_cluster(context, args, shell)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (no_proxy_name, no_proxy) = no_proxy();
    if args.unset {
        if args.name.is_some() {
            return Err(Failure::elder("Error: Expected no machine name when the -u flag is present"));
        }
        for variable in VARIABLES {
            say!("{}", shell.unset(variable));
        }
        if args.no_proxy {
            say!("{}", shell.unset(&no_proxy_name));
        }
        put!("{}", shell.usage(&command_line()));
        return Ok(ExitCode::SUCCESS);
    }
    let name = name_or_default(context, args.name.as_ref())?;
    let reach = reach(context, &name)?;
    let values = ["1", &reach.url, &reach.keys, name.as_str()];
    for (variable, value) in VARIABLES.into_iter().zip(values) {
        say!("{}", shell.set(variable, value));
    }
    if args.no_proxy {
        say!("{}", shell.set(&no_proxy_name, &with_address(&no_proxy, &reach.address)));
    }
    put!("{}", shell.usage(&command_line()));
    Ok(ExitCode::SUCCESS)
}

/// The variable that is in use, the lower-case one first, and its value.
fn no_proxy() -> (String, String) {
    for name in ["no_proxy", "NO_PROXY"] {
        match std::env::var(name) {
            Ok(value) if !value.is_empty() => return (name.into(), value),
            _ => {}
        }
    }
    ("NO_PROXY".into(), String::new())
}

fn with_address(list: &str, address: &str) -> String {
    if list.is_empty() {
        address.to_owned()
    } else if list.split(',').any(|entry| entry.trim() == address) {
        list.to_owned()
    } else {
        format!("{list},{address}")
    }
}

/// The words of this call, for the comment that tells how to use its output.
fn command_line() -> String {
    let quoted = |word: String| if word.contains([' ', '\\']) { format!("\"{word}\"") } else { word };
    std::env::args().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Ways to set a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shell {
    Sh,
    Fish,
    Cmd,
    Power,
    Tcsh,
    Emacs,
}

impl Shell {
    /// The one asked for, or the one in use, or a POSIX one: output that `eval` can always run.
    fn of(asked: Option<&str>, in_use: Option<&str>) -> Self {
        let path = asked.or(in_use).unwrap_or("sh");
        match path.rsplit('/').next().unwrap_or(path) {
            "fish" => Self::Fish,
            "cmd" => Self::Cmd,
            "powershell" | "pwsh" => Self::Power,
            "tcsh" | "csh" => Self::Tcsh,
            "emacs" => Self::Emacs,
            _ => Self::Sh,
        }
    }

    fn set(self, name: &str, value: &str) -> String {
        match self {
            Self::Sh => format!("export {name}=\"{}\"", escape(value, "\\\"$`")),
            Self::Fish => format!("set -gx {name} \"{}\";", escape(value, "\\\"$")),
            Self::Cmd => format!("SET {name}={value}"),
            Self::Power => format!(
                "$Env:{name} = \"{}\"",
                value.replace('`', "``").replace('"', "`\"").replace('$', "`$")
            ),
            Self::Tcsh => format!("setenv {name} \"{}\";", escape(value, "\\\"$`!")),
            Self::Emacs => format!("(setenv \"{name}\" \"{}\")", escape(value, "\\\"")),
        }
    }

    fn unset(self, name: &str) -> String {
        match self {
            Self::Sh => format!("unset {name}"),
            Self::Fish => format!("set -e {name};"),
            Self::Cmd => format!("SET {name}="),
            Self::Power => format!("Remove-Item Env:\\\\{name}"),
            Self::Tcsh => format!("unsetenv {name};"),
            Self::Emacs => format!("(setenv \"{name}\" nil)"),
        }
    }

    fn usage(self, command_line: &str) -> String {
        let told = |comment: &str, how: String| {
            format!("{comment} Run this command to configure your shell: \n{comment} {how}\n")
        };
        match self {
            Self::Sh => told("#", format!("eval $({command_line})")),
            Self::Fish => told("#", format!("eval ({command_line})")),
            Self::Cmd => told("REM", format!("\t@FOR /f \"tokens=*\" %i IN ('{command_line}') DO @%i")),
            Self::Power => told("#", format!("& {command_line} | Invoke-Expression")),
            // Its eval joins all lines into one: a `#` would hide what follows.
            Self::Tcsh => told(":", format!("eval `{command_line}`")),
            Self::Emacs => told(
                ";;",
                format!(
                    "(with-temp-buffer (shell-command \"{command_line}\" (current-buffer)) (eval-buffer))"
                ),
            ),
        }
    }
}

fn escape(value: &str, special: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if special.contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_is_the_one_asked_for_then_the_one_in_use_then_posix() {
        assert_eq!(Shell::of(Some("fish"), Some("/bin/bash")), Shell::Fish);
        assert_eq!(Shell::of(None, Some("/usr/bin/tcsh")), Shell::Tcsh);
        assert_eq!(Shell::of(None, None), Shell::Sh);
        assert_eq!(Shell::of(Some("zsh"), None), Shell::Sh);
    }

    #[test]
    fn every_shell_has_its_own_words() {
        let lines = |shell: Shell| (shell.set("A", "b c"), shell.unset("A"));
        assert_eq!(lines(Shell::Sh), ("export A=\"b c\"".into(), "unset A".into()));
        assert_eq!(lines(Shell::Fish), ("set -gx A \"b c\";".into(), "set -e A;".into()));
        assert_eq!(lines(Shell::Cmd), ("SET A=b c".into(), "SET A=".into()));
        assert_eq!(lines(Shell::Power).0, "$Env:A = \"b c\"");
        assert_eq!(lines(Shell::Tcsh), ("setenv A \"b c\";".into(), "unsetenv A;".into()));
        assert_eq!(lines(Shell::Emacs).1, "(setenv \"A\" nil)");
        assert_eq!(Shell::Sh.set("A", "a\"$(id)`"), "export A=\"a\\\"\\$(id)\\`\"");
    }

    #[test]
    fn an_address_is_added_to_no_proxy_once() {
        assert_eq!(with_address("", "127.0.0.1"), "127.0.0.1");
        assert_eq!(with_address("a,127.0.0.1", "127.0.0.1"), "a,127.0.0.1");
        assert_eq!(with_address("a", "127.0.0.1"), "a,127.0.0.1");
    }
}
