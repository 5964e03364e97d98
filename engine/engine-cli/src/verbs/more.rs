//! The verbs for networks, volumes and the engine as a whole, and those that clean up.

use clap::Arg;

use super::{Takes, Verb, filter, force, format, format_of_objects, no_trunc, quiet, verb};
use crate::flags::{flag, list, one};
use crate::{describe, df, events, lists, objects, prune, stats};

fn prune_flags(more: Option<Arg>) -> Vec<Arg> {
    let mut flags: Vec<Arg> = more.into_iter().collect();
    flags.extend([force("Do not prompt for confirmation"), list("filter", None, "Provide filter values")]);
    flags
}

fn system_prune_flags() -> Vec<Arg> {
    let mut flags =
        prune_flags(Some(flag("all", Some('a'), "Remove all unused images not just dangling ones")));
    flags.push(flag("volumes", None, "Prune anonymous volumes"));
    flags
}

pub(super) fn verbs() -> Vec<Verb> {
    use Takes::{AtLeast, AtMost, Exactly, Nothing};
    vec![
        verb(
            "container prune",
            "Remove all stopped containers",
            "",
            Nothing,
            prune_flags(None),
            prune::containers,
        ),
        verb(
            "events",
            "Get real time events from the server",
            "",
            Nothing,
            vec![
                filter(),
                one("format", None, "'json' or a Go template"),
                one("since", None, "Show all events created since timestamp"),
                one("until", None, "Stream events until this timestamp"),
            ],
            events::events,
        ),
        verb(
            "image prune",
            "Remove unused images",
            "",
            Nothing,
            prune_flags(Some(flag("all", Some('a'), "Remove all unused images, not just dangling ones"))),
            prune::images,
        ),
        verb(
            "info",
            "Display system-wide information",
            "",
            Nothing,
            vec![format_of_objects()],
            describe::info,
        ),
        verb(
            "network connect",
            "Connect a container to a network",
            "NETWORK CONTAINER",
            Exactly(2),
            vec![
                list("alias", None, "Add network-scoped alias for the container"),
                one("ip", None, "IPv4 address"),
                list("link", None, "Add link to another container"),
            ],
            objects::network_connect,
        ),
        verb(
            "network create",
            "Create a network",
            "NETWORK",
            Exactly(1),
            objects::network_flags(),
            objects::network_create,
        ),
        verb(
            "network disconnect",
            "Disconnect a container from a network",
            "NETWORK CONTAINER",
            Exactly(2),
            vec![force("Force the container to disconnect from a network")],
            objects::network_disconnect,
        ),
        verb(
            "network inspect",
            "Display detailed information on one or more networks",
            "NETWORK [NETWORK...]",
            AtLeast(1),
            vec![format_of_objects()],
            objects::network_inspect,
        ),
        verb(
            "network ls",
            "List networks",
            "",
            Nothing,
            vec![filter(), format(), no_trunc(), quiet("Only display network IDs")],
            lists::networks,
        ),
        verb("network prune", "Remove all unused networks", "", Nothing, prune_flags(None), prune::networks),
        verb(
            "network rm",
            "Remove one or more networks",
            "NETWORK [NETWORK...]",
            AtLeast(1),
            vec![force("Do not error if the network does not exist")],
            objects::network_rm,
        ),
        verb(
            "stats",
            "Display a live stream of container(s) resource usage statistics",
            "[CONTAINER...]",
            AtLeast(0),
            vec![
                flag("all", Some('a'), "Show all containers (default shows just running)"),
                format(),
                flag("no-stream", None, "Disable streaming stats and only pull the first result"),
                no_trunc(),
            ],
            stats::stats,
        ),
        verb(
            "system df",
            "Show docker disk usage",
            "",
            Nothing,
            vec![format(), flag("verbose", Some('v'), "Show detailed information on space usage")],
            df::df,
        ),
        verb("system prune", "Remove unused data", "", Nothing, system_prune_flags(), prune::system),
        verb(
            "version",
            "Show the Docker version information",
            "",
            Nothing,
            vec![format_of_objects()],
            describe::version,
        ),
        verb(
            "volume create",
            "Create a volume",
            "[VOLUME]",
            AtMost(1),
            vec![
                one("driver", Some('d'), "Specify volume driver name").default_value("local"),
                list("label", None, "Set metadata for a volume"),
                one("name", None, "Specify volume name").hide(true),
                list("opt", Some('o'), "Set driver specific options"),
            ],
            objects::volume_create,
        ),
        verb(
            "volume inspect",
            "Display detailed information on one or more volumes",
            "VOLUME [VOLUME...]",
            AtLeast(1),
            vec![format_of_objects()],
            objects::volume_inspect,
        ),
        verb(
            "volume ls",
            "List volumes",
            "",
            Nothing,
            vec![filter(), format(), quiet("Only display volume names")],
            lists::volumes,
        ),
        verb(
            "volume prune",
            "Remove unused local volumes",
            "",
            Nothing,
            prune_flags(Some(flag("all", Some('a'), "Remove all unused volumes, not just anonymous ones"))),
            prune::volumes,
        ),
        verb(
            "volume rm",
            "Remove one or more volumes",
            "VOLUME [VOLUME...]",
            AtLeast(1),
            vec![force("Force the removal of one or more volumes")],
            objects::volume_rm,
        ),
    ]
}
