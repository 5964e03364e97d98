//! Laws of merging, over configs drawn at random from few names so that keys meet.

use hostos_config::{
    Config, Directory, Disk, Dropin, File, HttpHeader, Link, Owner, Partition, PasswdUser, Resource, Unit,
    merge, parse,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

fn name() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "c"]).prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    select(vec!["/a", "/b", "/c", "/d"]).prop_map(str::to_owned)
}

fn resource() -> impl Strategy<Value = Resource> {
    let header = (name(), of(name())).prop_map(|(name, value)| HttpHeader { name, value });
    (of(select(vec!["http://x/", "http://y/"])), unique(header, 2, |header| header.name.clone())).prop_map(
        |(source, http_headers)| Resource {
            http_headers: if source.is_some() { http_headers } else { Vec::new() },
            source: source.map(str::to_owned),
            ..Resource::default()
        },
    )
}

/// A list whose keys differ, as in a valid config.
fn unique<T: std::fmt::Debug + Clone>(
    item: impl Strategy<Value = T>,
    most: usize,
    key: fn(&T) -> String,
) -> impl Strategy<Value = Vec<T>> {
    vec(item, 0..=most).prop_map(move |items| {
        let mut seen = std::collections::BTreeSet::new();
        items.into_iter().filter(|item| seen.insert(key(item))).collect()
    })
}

#[derive(Clone, Debug)]
enum Node {
    File(File),
    Directory(Directory),
    Link(Link),
}

fn node() -> impl Strategy<Value = Node> {
    let owner = || of(0..3_i64).prop_map(|id| Owner { id, name: None });
    prop_oneof![
        (path(), owner(), resource(), vec(resource(), 0..2), of(0..512_i64)).prop_map(
            |(path, user, contents, append, mode)| {
                Node::File(File { path, user, contents, append, mode, ..File::default() })
            }
        ),
        (path(), owner(), of(any::<bool>())).prop_map(|(path, group, overwrite)| Node::Directory(
            Directory { path, group, overwrite, ..Directory::default() }
        )),
        (path(), name()).prop_map(|(path, target)| Node::Link(Link {
            path,
            target: Some(target),
            ..Link::default()
        })),
    ]
}

fn node_path(node: &Node) -> String {
    match node {
        Node::File(file) => file.path.clone(),
        Node::Directory(directory) => directory.path.clone(),
        Node::Link(link) => link.path.clone(),
    }
}

fn unit() -> impl Strategy<Value = Unit> {
    let dropin = (name(), of(Just("[Unit]\nA=b\n".to_owned())))
        .prop_map(|(name, contents)| Dropin { name: format!("{name}.conf"), contents });
    (name(), of(any::<bool>()), of(any::<bool>()), unique(dropin, 2, |dropin| dropin.name.clone())).prop_map(
        |(name, enabled, mask, dropins)| Unit {
            name: format!("{name}.service"),
            enabled,
            mask,
            dropins,
            contents: None,
        },
    )
}

fn config() -> impl Strategy<Value = Config> {
    let user = (name(), of(name()), unique(name(), 2, Clone::clone), of(any::<bool>())).prop_map(
        |(name, shell, ssh_authorized_keys, system)| PasswdUser {
            name,
            shell,
            ssh_authorized_keys,
            system,
            ..PasswdUser::default()
        },
    );
    let partition = (1..3_i64, of(0..3_i64)).prop_map(|(number, size_mib)| Partition {
        number,
        size_mib,
        ..Partition::default()
    });
    let disk = (path(), of(any::<bool>()), unique(partition, 2, |partition| partition.number.to_string()))
        .prop_map(|(device, wipe_table, partitions)| Disk { device, wipe_table, partitions });
    (
        unique(node(), 4, node_path),
        unique(unit(), 2, |unit| unit.name.clone()),
        unique(user, 2, |user| user.name.clone()),
        unique(disk, 2, |disk| disk.device.clone()),
        vec(name(), 0..3),
        of(0..9_i64),
    )
        .prop_map(|(nodes, units, users, disks, arguments, total)| {
            let mut config = Config::default();
            for node in nodes {
                match node {
                    Node::File(file) => config.storage.files.push(file),
                    Node::Directory(directory) => config.storage.directories.push(directory),
                    Node::Link(link) => config.storage.links.push(link),
                }
            }
            config.systemd.units = units;
            config.passwd.users = users;
            config.storage.disks = disks;
            config.ignition.timeouts.http_total = total;
            for (index, argument) in arguments.into_iter().enumerate() {
                let lists = &mut config.kernel_arguments;
                let known =
                    lists.should_exist.contains(&argument) || lists.should_not_exist.contains(&argument);
                match index % 2 {
                    _ if known => {}
                    0 => lists.should_exist.push(argument),
                    _ => lists.should_not_exist.push(argument),
                }
            }
            config
        })
}

/// Lists that are joined grow with every merge; the law of sameness holds without them.
fn without_joined_lists(mut config: Config) -> Config {
    config.storage.files.iter_mut().for_each(|file| file.append.clear());
    config
}

/// A header without a value is spent when it meets the one it takes away.
fn without_removed_headers(mut config: Config) -> Config {
    for file in &mut config.storage.files {
        file.contents.http_headers.retain(|header| header.value.is_some());
    }
    config
}

proptest! {
    #[test]
    fn an_empty_config_changes_nothing(config in config()) {
        prop_assert_eq!(merge(&config, &Config::default()), config.clone());
        prop_assert_eq!(merge(&Config::default(), &config), config);
    }

    #[test]
    fn the_same_config_again_changes_nothing(config in config()) {
        let config = without_removed_headers(without_joined_lists(config));
        prop_assert_eq!(merge(&config, &config), config);
    }

    #[test]
    fn what_the_child_sets_is_there(parent in config(), child in config()) {
        let merged = merge(&parent, &child);
        for file in &child.storage.files {
            let found = merged.storage.files.iter().find(|other| other.path == file.path).expect("it stays");
            prop_assert!(file.mode.is_none() || found.mode == file.mode);
            prop_assert!(found.append.ends_with(&file.append));
        }
        for unit in &child.systemd.units {
            let found = merged.systemd.units.iter().find(|other| other.name == unit.name).expect("it stays");
            prop_assert!(unit.enabled.is_none() || found.enabled == unit.enabled);
        }
    }

    #[test]
    fn no_path_and_no_argument_is_declared_twice(parent in config(), child in config()) {
        let errors = hostos_config::validate(&merge(&parent, &child));
        let twice = errors.iter().find(|error| error.message.contains("twice"));
        prop_assert_eq!(twice, None);
    }

    #[test]
    fn three_generations_merge_alike_from_either_end(a in config(), b in config(), c in config()) {
        // A path that changes its kind and back loses what the first generation said of it when merged from
        // the left only, so the law is stated for files alone.
        let files = |mut config: Config| {
            config.storage.directories.clear();
            config.storage.links.clear();
            config.kernel_arguments = Default::default();
            without_removed_headers(config)
        };
        let (a, b, c) = (files(a), files(b), files(c));
        prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
    }

    #[test]
    fn what_is_written_is_read_back(config in config()) {
        let written = config.to_json();
        if let Ok((read, _)) = parse(written.as_bytes(), "written") {
            prop_assert_eq!(read.to_json(), written);
            prop_assert_eq!(read, config);
        }
    }
}
