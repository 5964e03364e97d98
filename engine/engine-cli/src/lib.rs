//! Docker's verbs for hosts without the stock client.
//!
//! It speaks to one engine over its unix socket (`DOCKER_HOST=unix://…` or /var/run/docker.sock) and prints
//! what the stock client prints. It does what units and admins need on a host; it knows no contexts, no TLS,
//! no plugins.

mod build;
mod context;
mod cp;
mod http;
mod run;
mod show;
mod streams;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};
use http::{Body, Client, Failure, escape};

/// The command line, for help, man pages and completions.
pub fn command() -> Command {
    let names = || Arg::new("name").required(true).num_args(1..).value_name("NAME");
    let flag = |long: &'static str, short: char, help: &'static str| {
        Arg::new(long).long(long).short(short).action(ArgAction::SetTrue).help(help)
    };
    let time =
        || Arg::new("time").long("time").short('t').value_name("SECONDS").help("Seconds before killing it");
    Command::new("docker")
        .about("Docker's verbs for this host's engine")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(run::command("run", "Create and run a new container from an image"))
        .subcommand(run::command("create", "Create a new container"))
        .subcommand(run::exec_command())
        .subcommand(
            Command::new("ps")
                .about("List containers")
                .arg(flag("all", 'a', "Show all containers (default shows just running)"))
                .arg(flag("quiet", 'q', "Only display container IDs")),
        )
        .subcommand(Command::new("images").about("List images").arg(flag(
            "quiet",
            'q',
            "Only show image IDs",
        )))
        .subcommand(Command::new("start").about("Start one or more stopped containers").arg(names()))
        .subcommand(
            Command::new("stop").about("Stop one or more running containers").arg(time()).arg(names()),
        )
        .subcommand(Command::new("restart").about("Restart one or more containers").arg(time()).arg(names()))
        .subcommand(
            Command::new("kill")
                .about("Kill one or more running containers")
                .arg(Arg::new("signal").long("signal").short('s').value_name("SIGNAL").help("Signal to send"))
                .arg(names()),
        )
        .subcommand(
            Command::new("rm")
                .about("Remove one or more containers")
                .arg(flag("force", 'f', "Force the removal of a running container"))
                .arg(flag("volumes", 'v', "Remove anonymous volumes associated with the container"))
                .arg(names()),
        )
        .subcommand(
            Command::new("rmi")
                .about("Remove one or more images")
                .arg(flag("force", 'f', "Force removal of the image"))
                .arg(names()),
        )
        .subcommand(
            Command::new("wait")
                .about("Block until containers stop, then print their exit codes")
                .arg(names()),
        )
        .subcommand(
            Command::new("logs")
                .about("Fetch the logs of a container")
                .arg(flag("follow", 'f', "Follow log output"))
                .arg(flag("timestamps", 't', "Show timestamps"))
                .arg(
                    Arg::new("tail")
                        .long("tail")
                        .short('n')
                        .default_value("all")
                        .help("Lines to show from the end"),
                )
                .arg(Arg::new("name").required(true).value_name("CONTAINER")),
        )
        .subcommand(
            Command::new("inspect")
                .about("Return low-level information on containers and images")
                .arg(names()),
        )
        .subcommand(
            Command::new("pull")
                .about("Download an image from a registry")
                .arg(Arg::new("name").required(true).value_name("IMAGE")),
        )
        .subcommand(
            Command::new("load").about("Load an image from a tar archive or STDIN").arg(
                Arg::new("input")
                    .long("input")
                    .short('i')
                    .value_name("FILE")
                    .help("Read from tar archive file, instead of STDIN"),
            ),
        )
        .subcommand(build::command())
        .subcommand(cp::command())
        .subcommand(Command::new("version").about("Show the version of client and engine"))
        .subcommand(Command::new("info").about("Display what the engine says of itself"))
}

/// Runs the client.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(usage) => {
            // A closed terminal is no reason for another complaint.
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { 125 } else { 0 });
        }
    };
    let (verb, options) = matches.subcommand().expect("clap asks for one");
    match Client::from_env().and_then(|client| dispatch(&client, verb, options)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if let Failure::Ended { text, code } = &failure
                && verb == "build"
            {
                eprintln!("{text}");
                return ExitCode::from(*code);
            }
            let runs = matches!(verb, "run" | "create");
            eprintln!("{}{failure}", if runs { "docker: " } else { "" });
            ExitCode::from(if runs { run::exit_code(&failure.to_string()) } else { 1 })
        }
    }
}

fn dispatch(client: &Client, verb: &str, options: &ArgMatches) -> Result<u8, Failure> {
    let seconds = |options: &ArgMatches| {
        options.get_one::<String>("time").map(|t| format!("?t={}", escape(t))).unwrap_or_default()
    };
    match verb {
        "run" => return run::run(client, options),
        "create" => run::create(client, options).map(|id| println!("{id}"))?,
        "exec" => return run::exec(client, options),
        "ps" => show::ps(client, options)?,
        "images" => show::images(client, options)?,
        "version" => show::version(client)?,
        "info" => show::info(client)?,
        "inspect" => return show::inspect(client, options),
        "logs" => streams::logs(client, options)?,
        "pull" => streams::pull(client, options.get_one::<String>("name").expect("required"))?,
        "load" => streams::load(client, options.get_one::<String>("input").map(String::as_str))?,
        "build" => build::build(client, options)?,
        "cp" => cp::cp(client, options)?,
        "wait" => {
            return each(options, |name| {
                let done = client.json("POST", &format!("/containers/{}/wait", escape(name)), Body::None)?;
                println!("{}", done["StatusCode"]);
                Ok(())
            });
        }
        "start" => return on_each(client, options, "POST", |n| format!("/containers/{n}/start")),
        "stop" => {
            return on_each(client, options, "POST", |n| format!("/containers/{n}/stop{}", seconds(options)));
        }
        "restart" => {
            return on_each(client, options, "POST", |n| {
                format!("/containers/{n}/restart{}", seconds(options))
            });
        }
        "kill" => {
            let signal = options.get_one::<String>("signal").cloned().unwrap_or_default();
            return on_each(client, options, "POST", |n| {
                format!("/containers/{n}/kill?signal={}", escape(&signal))
            });
        }
        "rm" => {
            let (force, volumes) = (options.get_flag("force"), options.get_flag("volumes"));
            return on_each(client, options, "DELETE", |n| {
                format!("/containers/{n}?force={force}&v={volumes}")
            });
        }
        _ => return show::rmi(client, options),
    }
    Ok(0)
}

/// Does something to each container named and prints its name; goes on past failures.
fn on_each(
    client: &Client,
    options: &ArgMatches,
    method: &str,
    path: impl Fn(&str) -> String,
) -> Result<u8, Failure> {
    each(options, |name| {
        client.send(method, &path(&escape(name)), Body::None)?;
        println!("{name}");
        Ok(())
    })
}

fn each(options: &ArgMatches, mut act: impl FnMut(&str) -> Result<(), Failure>) -> Result<u8, Failure> {
    let mut code = 0;
    for name in options.get_many::<String>("name").into_iter().flatten() {
        if let Err(failure) = act(name) {
            eprintln!("{failure}");
            code = 1;
        }
    }
    Ok(code)
}
