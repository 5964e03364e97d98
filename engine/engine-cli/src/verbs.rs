//! The verbs. Those for containers and images are here, the rest is below.

mod more;

use clap::Arg;

use crate::flags::{Options, flag, list, one};
use crate::http::{Client, Failure};
use crate::{build, config, cp, describe, images, life, lists, objects, run, streams};

/// How many arguments a verb takes besides its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    Nothing,
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
}

/// One thing to do.
pub(crate) struct Verb {
    /// With its group, if it has no short form: `network create`.
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// After the flags.
    pub(crate) usage: &'static str,
    pub(crate) takes: Takes,
    pub(crate) flags: Vec<Arg>,
    pub(crate) act: fn(&Client, &Options<'_>) -> Result<u8, Failure>,
}

fn verb(
    name: &'static str,
    about: &'static str,
    usage: &'static str,
    takes: Takes,
    flags: Vec<Arg>,
    act: fn(&Client, &Options<'_>) -> Result<u8, Failure>,
) -> Verb {
    Verb { name, about, usage, takes, flags, act }
}

const CONTAINERS: &str = "CONTAINER [CONTAINER...]";
const IMAGES: &str = "IMAGE [IMAGE...]";

fn quiet(help: &'static str) -> Arg {
    flag("quiet", Some('q'), help)
}

fn filter() -> Arg {
    list("filter", Some('f'), "Filter output based on conditions provided")
}

fn format() -> Arg {
    one("format", None, "'table', 'table TEMPLATE', 'json', or a Go template")
}

fn format_of_objects() -> Arg {
    one("format", Some('f'), "'json' or a Go template")
}

fn force(help: &'static str) -> Arg {
    flag("force", Some('f'), help)
}

fn no_trunc() -> Arg {
    flag("no-trunc", None, "Don't truncate output")
}

fn timeout() -> Arg {
    one("timeout", Some('t'), "Seconds to wait before killing the container").alias("time")
}

/// All verbs.
pub(crate) fn verbs() -> Vec<Verb> {
    use Takes::{AtLeast, AtMost, Exactly, Nothing};
    let signal = || one("signal", Some('s'), "Signal to send to the container");
    let mut verbs = vec![
        verb(
            "attach",
            "Attach local standard input, output, and error streams to a running container",
            "CONTAINER",
            Exactly(1),
            run::attach_flags(),
            run::attach,
        ),
        verb(
            "build",
            "Build an image from a Dockerfile",
            "PATH | URL | -",
            Exactly(1),
            build::flags(),
            build::build,
        ),
        verb(
            "commit",
            "Create a new image from a container's changes",
            "CONTAINER [REPOSITORY[:TAG]]",
            AtLeast(1),
            vec![
                list("change", Some('c'), "Apply Dockerfile instruction to the created image"),
                one("message", Some('m'), "Commit message"),
                one("author", Some('a'), "Author"),
                flag("pause", Some('p'), "Pause container during commit").default_value("true"),
            ],
            images::commit,
        ),
        verb(
            "cp",
            "Copy files/folders between a container and the local filesystem",
            "SRC_PATH DEST_PATH",
            Exactly(2),
            cp::flags(),
            cp::cp,
        ),
        verb(
            "create",
            "Create a new container",
            "IMAGE [COMMAND] [ARG...]",
            AtLeast(1),
            run::flags(),
            run::create,
        ),
        verb(
            "diff",
            "Inspect changes to files or directories on a container's filesystem",
            "CONTAINER",
            Exactly(1),
            vec![],
            describe::diff,
        ),
        verb(
            "exec",
            "Execute a command in a running container",
            "CONTAINER COMMAND [ARG...]",
            AtLeast(2),
            run::exec_flags(),
            run::exec,
        ),
        verb(
            "export",
            "Export a container's filesystem as a tar archive",
            "CONTAINER",
            Exactly(1),
            vec![one("output", Some('o'), "Write to a file, instead of STDOUT")],
            images::export,
        ),
        verb(
            "history",
            "Show the history of an image",
            "IMAGE",
            Exactly(1),
            vec![quiet("Only show image IDs"), no_trunc(), format()],
            lists::history,
        ),
        verb(
            "images",
            "List images",
            "[REPOSITORY[:TAG]]",
            AtMost(1),
            vec![
                flag("all", Some('a'), "Show all images (default hides intermediate images)"),
                flag("digests", None, "Show digests"),
                filter(),
                format(),
                no_trunc(),
                quiet("Only show image IDs"),
            ],
            lists::images,
        ),
        verb(
            "import",
            "Import the contents from a tarball to create a filesystem image",
            "file|URL|- [REPOSITORY[:TAG]]",
            AtLeast(1),
            vec![
                list("change", Some('c'), "Apply Dockerfile instruction to the created image"),
                one("message", Some('m'), "Set commit message for imported image"),
            ],
            images::import,
        ),
        verb(
            "inspect",
            "Return low-level information on Docker objects",
            "NAME|ID [NAME|ID...]",
            AtLeast(1),
            vec![
                format_of_objects(),
                flag("size", Some('s'), "Display total file sizes if the type is container"),
                one("type", None, "Only inspect objects of the given type"),
            ],
            objects::inspect,
        ),
        verb(
            "kill",
            "Kill one or more running containers",
            CONTAINERS,
            AtLeast(1),
            vec![signal()],
            life::kill,
        ),
        verb(
            "load",
            "Load an image from a tar archive or STDIN",
            "",
            Nothing,
            vec![
                one("input", Some('i'), "Read from tar archive file, instead of STDIN"),
                quiet("Suppress the load output"),
            ],
            images::load,
        ),
        verb(
            "login",
            "Authenticate to a registry",
            "[SERVER]",
            AtMost(1),
            vec![
                one("username", Some('u'), "Username"),
                one("password", Some('p'), "Password"),
                flag("password-stdin", None, "Take the Password from stdin"),
            ],
            images::login,
        ),
        verb("logout", "Log out from a registry", "[SERVER]", AtMost(1), vec![], images::logout),
        verb(
            "logs",
            "Fetch the logs of a container",
            "CONTAINER",
            Exactly(1),
            vec![
                flag("details", None, "Show extra details provided to logs"),
                flag("follow", Some('f'), "Follow log output"),
                one("since", None, "Show logs since timestamp or relative (e.g. 42m)"),
                one("tail", Some('n'), "Number of lines to show from the end of the logs"),
                flag("timestamps", Some('t'), "Show timestamps"),
                one("until", None, "Show logs before a timestamp or relative (e.g. 42m)"),
            ],
            streams::logs,
        ),
        verb(
            "pause",
            "Pause all processes within one or more containers",
            CONTAINERS,
            AtLeast(1),
            vec![],
            life::pause,
        ),
        verb(
            "port",
            "List port mappings or a specific mapping for the container",
            "CONTAINER [PRIVATE_PORT[/PROTO]]",
            AtLeast(1),
            vec![],
            describe::port,
        ),
        verb(
            "ps",
            "List containers",
            "",
            Nothing,
            vec![
                flag("all", Some('a'), "Show all containers (default shows just running)"),
                filter(),
                format(),
                one("last", Some('n'), "Show n last created containers (includes all states)"),
                flag("latest", Some('l'), "Show the latest created container (includes all states)"),
                no_trunc(),
                quiet("Only display container IDs"),
                flag("size", Some('s'), "Display total file sizes"),
            ],
            lists::containers,
        ),
        verb(
            "pull",
            "Download an image from a registry",
            "NAME[:TAG|@DIGEST]",
            Exactly(1),
            vec![
                quiet("Suppress verbose output"),
                one("platform", None, "Set platform if server is multi-platform capable"),
            ],
            images::pull,
        ),
        verb(
            "push",
            "Upload an image to a registry",
            "NAME[:TAG]",
            Exactly(1),
            vec![quiet("Suppress verbose output")],
            images::push,
        ),
        verb("rename", "Rename a container", "CONTAINER NEW_NAME", Exactly(2), vec![], life::rename),
        verb(
            "restart",
            "Restart one or more containers",
            CONTAINERS,
            AtLeast(1),
            vec![signal(), timeout()],
            life::restart,
        ),
        verb(
            "rm",
            "Remove one or more containers",
            CONTAINERS,
            AtLeast(1),
            vec![
                force("Force the removal of a running container (uses SIGKILL)"),
                flag("link", Some('l'), "Remove the specified link"),
                flag("volumes", Some('v'), "Remove anonymous volumes associated with the container"),
            ],
            life::rm,
        ),
        verb(
            "rmi",
            "Remove one or more images",
            IMAGES,
            AtLeast(1),
            vec![
                force("Force removal of the image"),
                flag("no-prune", None, "Do not delete untagged parents"),
            ],
            images::rmi,
        ),
        verb(
            "run",
            "Create and run a new container from an image",
            "IMAGE [COMMAND] [ARG...]",
            AtLeast(1),
            run::flags(),
            run::run,
        ),
        verb(
            "save",
            "Save one or more images to a tar archive (streamed to STDOUT by default)",
            IMAGES,
            AtLeast(1),
            vec![one("output", Some('o'), "Write to a file, instead of STDOUT")],
            images::save,
        ),
        verb(
            "start",
            "Start one or more stopped containers",
            CONTAINERS,
            AtLeast(1),
            run::start_flags(),
            run::start,
        ),
        verb(
            "stop",
            "Stop one or more running containers",
            CONTAINERS,
            AtLeast(1),
            vec![signal(), timeout()],
            life::stop,
        ),
        verb(
            "tag",
            "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
            "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
            Exactly(2),
            vec![],
            images::tag,
        ),
        verb(
            "top",
            "Display the running processes of a container",
            "CONTAINER [ps OPTIONS]",
            AtLeast(1),
            vec![],
            describe::top,
        ),
        verb(
            "unpause",
            "Unpause all processes within one or more containers",
            CONTAINERS,
            AtLeast(1),
            vec![],
            life::unpause,
        ),
        verb(
            "update",
            "Update configuration of one or more containers",
            CONTAINERS,
            AtLeast(1),
            config::update_flags(),
            life::update,
        ),
        verb(
            "wait",
            "Block until one or more containers stop, then print their exit codes",
            CONTAINERS,
            AtLeast(1),
            vec![],
            life::wait,
        ),
    ];
    verbs.extend(more::verbs());
    verbs.sort_by_key(|verb| verb.name);
    verbs
}
