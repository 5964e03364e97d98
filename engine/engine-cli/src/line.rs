//! The command line that the verbs make up, with the groups that have longer names for them.

use clap::{Arg, ArgAction, Command};

use crate::flags::{flag, one};
use crate::verbs::Verb;

/// Groups that have verbs of their own, or longer names for those above.
const GROUPS: [(&str, &str, &[(&str, &str)]); 5] = [
    (
        "container",
        "Manage containers",
        &[
            ("attach", "attach"),
            ("commit", "commit"),
            ("cp", "cp"),
            ("create", "create"),
            ("diff", "diff"),
            ("exec", "exec"),
            ("export", "export"),
            ("inspect", "inspect"),
            ("kill", "kill"),
            ("list", "ps"),
            ("logs", "logs"),
            ("ls", "ps"),
            ("pause", "pause"),
            ("port", "port"),
            ("prune", "container prune"),
            ("ps", "ps"),
            ("rename", "rename"),
            ("restart", "restart"),
            ("rm", "rm"),
            ("run", "run"),
            ("start", "start"),
            ("stats", "stats"),
            ("stop", "stop"),
            ("top", "top"),
            ("unpause", "unpause"),
            ("update", "update"),
            ("wait", "wait"),
        ],
    ),
    (
        "image",
        "Manage images",
        &[
            ("build", "build"),
            ("history", "history"),
            ("import", "import"),
            ("inspect", "inspect"),
            ("list", "images"),
            ("load", "load"),
            ("ls", "images"),
            ("prune", "image prune"),
            ("pull", "pull"),
            ("push", "push"),
            ("rm", "rmi"),
            ("save", "save"),
            ("tag", "tag"),
        ],
    ),
    (
        "network",
        "Manage networks",
        &[
            ("connect", "network connect"),
            ("create", "network create"),
            ("disconnect", "network disconnect"),
            ("inspect", "network inspect"),
            ("list", "network ls"),
            ("ls", "network ls"),
            ("prune", "network prune"),
            ("remove", "network rm"),
            ("rm", "network rm"),
        ],
    ),
    (
        "system",
        "Manage Docker",
        &[("df", "system df"), ("events", "events"), ("info", "info"), ("prune", "system prune")],
    ),
    (
        "volume",
        "Manage volumes",
        &[
            ("create", "volume create"),
            ("inspect", "volume inspect"),
            ("list", "volume ls"),
            ("ls", "volume ls"),
            ("prune", "volume prune"),
            ("remove", "volume rm"),
            ("rm", "volume rm"),
        ],
    ),
];

/// What a command line asked for.
pub(crate) struct Asked {
    /// As it was typed.
    pub(crate) path: String,
    /// In the table of [`verbs`].
    pub(crate) verb: usize,
}

/// The verb below a group, or on its own.
pub(crate) fn find(verbs: &[Verb], path: &[&str]) -> Option<Asked> {
    let name = match path {
        [name] => name,
        [group, name] => {
            let (_, _, members) = GROUPS.iter().find(|(known, ..)| known == group)?;
            members.iter().find(|(known, _)| known == name)?.1
        }
        _ => return None,
    };
    let verb = verbs.iter().position(|verb| verb.name == name)?;
    Some(Asked { path: path.join(" "), verb })
}

/// The command line, for help, man pages and completions.
pub(crate) fn command(verbs: &[Verb]) -> Command {
    const TEMPLATE: &str = "Usage:  {usage}\n\n{about}\n\nOptions:\n{options}\n";
    let build = |verb: &Verb, name: &'static str, path: String| {
        let flags = if verb.flags.is_empty() { "" } else { "[OPTIONS]" };
        let usage = [path.as_str(), flags, verb.usage].join(" ");
        let usage = usage.split_whitespace().collect::<Vec<_>>().join(" ");
        // What follows the image belongs to the command there.
        let strict = matches!(verb.name, "run" | "create" | "exec" | "top");
        let args =
            Arg::new("args").num_args(0..).hide(true).trailing_var_arg(strict).allow_hyphen_values(strict);
        Command::new(name)
            .about(verb.about)
            .override_usage(usage)
            .help_template(TEMPLATE)
            .args_override_self(true)
            .disable_help_flag(true)
            .arg(Arg::new("help").long("help").action(ArgAction::Help).help("Print usage"))
            .args(verb.flags.clone())
            .arg(args)
    };
    let mut docker = Command::new("docker")
        .about("Docker's verbs for this host's engine")
        .version(env!("CARGO_PKG_VERSION"))
        .override_usage("docker [OPTIONS] COMMAND")
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args_override_self(true)
        .arg(
            Arg::new("version")
                .short('v')
                .long("version")
                .action(ArgAction::Version)
                .help("Print version information"),
        )
        .arg(one("host", Some('H'), "Socket of the engine to talk to: unix://PATH"))
        .arg(flag("debug", Some('D'), "Enable debug mode"));
    for verb in verbs.iter().filter(|verb| !verb.name.contains(' ')) {
        docker = docker.subcommand(build(verb, verb.name, format!("docker {}", verb.name)));
    }
    for (group, about, members) in GROUPS {
        let mut below = Command::new(group)
            .about(about)
            .override_usage(format!("docker {group} COMMAND"))
            .disable_help_subcommand(true)
            .subcommand_required(true);
        for (name, of) in members {
            let Some(verb) = verbs.iter().find(|verb| verb.name == *of) else { continue };
            below = below.subcommand(build(verb, name, format!("docker {group} {name}")));
        }
        docker = docker.subcommand(below);
    }
    docker
}
