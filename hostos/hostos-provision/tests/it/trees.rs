//! Trees that a config leaves behind: ours against what is written down, which comes from the elder, and
//! the elder against it again where it is installed (Debian's package `ignition`, and busybox for its `id`).
//!
//! A case is `=== NAME`, the config, `---`, and the lines of what changed below the root, or `error`. A line
//! `ours:` begins what we leave where we mean to differ; the line `why:` before it says why.
//! `BLESS=1` asks the elder and writes down what it leaves.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use hostos_provision::{Root, apply, load};
use nix::unistd::geteuid;

/// Below the `usr` of whatever folder the package was unpacked to.
const ELDER: &str = "lib/dracut/modules.d/30ignition/ignition";
const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/trees/trees.txt");

struct Case {
    name: String,
    config: String,
    elder: String,
    /// Why we differ, and what we leave.
    ours: Option<(String, String)>,
}

#[test]
fn our_trees_are_those_written_down() {
    if !geteuid().is_root() {
        must_run::skip("files get owners, which needs root");
        return;
    }
    let mut wrong = Vec::new();
    let cases = read_cases();
    assert!(cases.len() >= 30, "only {} cases", cases.len());
    for case in &cases {
        let wanted = case.ours.as_ref().map_or(&case.elder, |(_, ours)| ours);
        let left = our_tree(&case.config);
        if left != *wanted {
            wrong.push(format!("=== {}\n{}", case.name, difference(wanted, &left)));
        }
    }
    assert!(wrong.is_empty(), "{} trees differ (- wanted, + left)\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_second_run_changes_nothing() {
    if !geteuid().is_root() {
        must_run::skip("files get owners, which needs root");
        return;
    }
    for case in read_cases().iter().filter(|case| case.elder != "error\n" && !case.config.contains("append"))
    {
        let root = fixture();
        let before = tree(root.path());
        run(&case.config, root.path()).expect("the first run works");
        let first = changes(&before, &tree(root.path()));
        run(&case.config, root.path()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let second = changes(&before, &tree(root.path()));
        assert!(first == second, "{}\n{}", case.name, difference(&first, &second));
    }
}

#[test]
fn the_elder_leaves_what_is_written_down() {
    let elder = elder().filter(|_| geteuid().is_root() && Path::new("/usr/bin/busybox").exists());
    let Some(elder) = elder else {
        must_run::skip("needs root, and `apt-get install ignition busybox-static`");
        return;
    };
    let mut cases = read_cases();
    let mut wrong = Vec::new();
    for case in &mut cases {
        let left = elders_tree(&elder, &case.config);
        if left != case.elder {
            wrong.push(format!("=== {}\n{}", case.name, difference(&case.elder, &left)));
            case.elder = left;
        }
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(CASES, cases.iter().map(render).collect::<String>()).expect("the cases can be written");
    }
    assert!(wrong.is_empty(), "{} trees differ (- written, + left)\n{}", wrong.len(), wrong.join("\n"));
}

fn our_tree(config: &str) -> String {
    let root = fixture();
    let before = tree(root.path());
    match run(config, root.path()) {
        Ok(()) => changes(&before, &tree(root.path())),
        Err(_) => {
            let marker = root.path().join("etc/.ignition-result.json");
            assert!(!marker.exists(), "a failed run looks like a success");
            "error\n".into()
        }
    }
}

fn run(config: &str, root: &Path) -> Result<(), String> {
    let loaded = load(config.as_bytes(), "case").map_err(|error| error.to_string())?;
    let root = Root::open(root).map_err(|error| error.to_string())?;
    apply(&loaded.config, &root).map(|_| ()).map_err(|error| error.to_string())
}

/// The elder, of the same package as a program in PATH.
fn elder() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).filter_map(|dir| Some(dir.parent()?.join(ELDER))).find(|file| file.exists())
}

fn elders_tree(elder: &Path, config: &str) -> String {
    let root = fixture();
    let before = tree(root.path());
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| scratch.path().join(name);
    fs::write(at("config"), config).expect("it is written");
    fs::create_dir(at("bin")).expect("it is made");
    fs::write(at("bin/setfiles"), "#!/bin/sh\nexit 0\n").expect("it is written");
    fs::set_permissions(at("bin/setfiles"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let path = format!("{}:{}", at("bin").display(), std::env::var("PATH").unwrap_or_default());
    for stage in ["fetch", "files"] {
        let status = Command::new("unshare")
            .arg("-n")
            .arg(elder)
            .args(["-platform", "file", "-stage", stage, "-log-to-stdout"])
            .args([Path::new("-root"), root.path(), Path::new("-config-cache"), &at("cache")])
            .args([Path::new("-state-file"), &at("state"), Path::new("-neednet"), &at("neednet")])
            .env("IGNITION_CONFIG_FILE", at("config"))
            .env("PATH", &path)
            .output()
            .expect("it runs")
            .status;
        if !status.success() {
            return "error\n".into();
        }
    }
    changes(&before, &tree(root.path()))
}

/// A small system: accounts, some files, links of each kind.
fn fixture() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary directory");
    let at = |path: &str| root.path().join(path);
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    for directory in [
        "bin",
        "etc/default",
        "etc/skel",
        "etc/selinux/t/contexts/files",
        "etc/systemd/system",
        "home/web",
        "run",
        "srv/data",
        "srv/target",
        "usr",
        "var/lib",
    ] {
        fs::create_dir_all(at(directory)).expect("it is made");
    }
    for (path, mode, text) in [
        (
            "etc/passwd",
            0o644,
            "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/:/bin/false\nweb:x:1001:1001:Old:/home/web:/bin/bash\n",
        ),
        (
            "etc/group",
            0o644,
            "root:x:0:\ndaemon:x:1:\nsudo:x:27:\nusers:x:100:\ndocker:x:998:web\nweb:x:1001:\n",
        ),
        (
            "etc/shadow",
            0o640,
            "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nweb:!:19000:0:99999:7:::\n",
        ),
        ("etc/gshadow", 0o640, "root:*::\ndaemon:*::\nsudo:*::\nusers:*::\ndocker:!::web\nweb:!::\n"),
        (
            "etc/login.defs",
            0o644,
            "UID_MIN 1000\nUID_MAX 60000\nSYS_UID_MIN 100\nGID_MIN 1000\nGID_MAX 60000\nSYS_GID_MIN 100\nUSERGROUPS_ENAB yes\nPASS_MAX_DAYS 99999\nPASS_MIN_DAYS 0\nPASS_WARN_AGE 7\nUMASK 022\nHOME_MODE 0700\n",
        ),
        ("etc/default/useradd", 0o644, "SHELL=/bin/bash\nGROUP=100\n"),
        ("etc/skel/.bashrc", 0o644, "# shell\n"),
        ("etc/selinux/config", 0o644, "SELINUXTYPE=t\n"),
        ("etc/selinux/t/contexts/files/file_contexts", 0o644, ""),
        ("etc/motd", 0o644, "old\n"),
        ("etc/systemd/system/real.service", 0o644, "[Unit]\n"),
        ("srv/data/inside", 0o644, "data\n"),
        ("srv/owned", 0o640, "mine\n"),
    ] {
        fs::write(at(path), text).expect("it is written");
        fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    for (path, target) in [
        ("etc/link", "motd"),
        ("etc/systemd/system/masked.service", "/dev/null"),
        ("linked", "srv/target"),
        ("absolute", "/srv/target"),
        ("climbs", "../../../../../../../srv/target"),
        ("usr/bin", "../bin"),
        ("usr/sbin", "../bin"),
        ("bin/id", "busybox"),
    ] {
        symlink(target, at(path)).expect("it is made");
    }
    chown(at("srv/data"), Some(11), Some(12)).expect("we are root");
    chown(at("srv/owned"), Some(13), Some(14)).expect("we are root");
    chown(at("home/web"), Some(1001), Some(1001)).expect("we are root");
    let _ = fs::copy("/usr/bin/busybox", at("bin/busybox"));
    root
}

/// Every path with what is there.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut rest = vec![root.to_owned()];
    while let Some(directory) = rest.pop() {
        for entry in fs::read_dir(&directory).expect("it can be listed") {
            let path = entry.expect("it can be listed").path();
            let shown = Path::new("/").join(path.strip_prefix(root).expect("it is below"));
            if is_noise(&shown) {
                continue;
            }
            let metadata = path.symlink_metadata().expect("it is there");
            if metadata.is_dir() {
                rest.push(path.clone());
            }
            found.insert(shown.clone(), describe(&path, &shown, &metadata));
        }
    }
    found
}

/// What belongs to a run, or to a helper, rather than to the config.
fn is_noise(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kept_by_helpers = [
        "passwd-",
        "group-",
        "shadow-",
        "gshadow-",
        ".pwd.lock",
        ".ignition-result.json",
        "subuid",
        "subgid",
    ];
    kept_by_helpers.contains(&name.as_ref()) || path.starts_with("/bin") || path.starts_with("/var/mail")
}

fn describe(path: &Path, shown: &Path, metadata: &fs::Metadata) -> String {
    let owner = format!("{}:{}", metadata.uid(), metadata.gid());
    if metadata.is_symlink() {
        let target = fs::read_link(path).expect("it is a link");
        return format!("link {owner} -> {}", target.display());
    }
    let mode = metadata.mode() & 0o7777;
    if metadata.is_dir() {
        return format!("dir {mode:04o} {owner}");
    }
    let names = if metadata.nlink() > 1 { format!(" ({} names)", metadata.nlink()) } else { String::new() };
    let text = fs::read_to_string(path).expect("the tests write text");
    format!("file {mode:04o} {owner}{names} {:?}", plain(shown, &text))
}

/// A text without the date of today and without the order that the elder draws at random.
fn plain(path: &Path, text: &str) -> String {
    if path.ends_with("20-ignition.preset") {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        return lines.join("\n");
    }
    if !path.ends_with("etc/shadow") {
        return text.into();
    }
    let dated = |line: &str| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if fields.get(2).is_some_and(|day| *day != "19000") {
            fields[2] = "TODAY";
        }
        fields.join(":") + "\n"
    };
    text.lines().map(dated).collect()
}

fn changes(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) -> String {
    let mut lines = String::new();
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        lines.push_str(&format!("{} gone\n", path.display()));
    }
    for (path, now) in after.iter().filter(|(path, now)| before.get(*path) != Some(now)) {
        lines.push_str(&format!("{} {now}\n", path.display()));
    }
    lines
}

fn difference(wanted: &str, found: &str) -> String {
    let missing = wanted.lines().filter(|line| !found.lines().any(|other| other == *line));
    let extra = found.lines().filter(|line| !wanted.lines().any(|other| other == *line));
    missing.map(|line| format!("- {line}\n")).chain(extra.map(|line| format!("+ {line}\n"))).collect()
}

fn read_cases() -> Vec<Case> {
    let text = fs::read_to_string(CASES).expect("the cases are there");
    let parts = text.split("=== ").skip(1);
    parts
        .map(|part| {
            let (name, rest) = part.split_once('\n').expect("a case has a name");
            let (config, left) = rest.split_once("\n---\n").expect("a case has a config and a tree");
            let left = left.strip_suffix('\n').unwrap_or(left);
            let (elder, ours) = match left.split_once("why: ") {
                Some((elder, rest)) => {
                    let (why, ours) = rest.split_once("\nours:\n").expect("a reason is followed by `ours:`");
                    (elder, Some((why.to_owned(), ours.to_owned())))
                }
                None => (left, None),
            };
            Case { name: name.into(), config: config.into(), elder: elder.into(), ours }
        })
        .collect()
}

fn render(case: &Case) -> String {
    let ours = case.ours.as_ref().map_or(String::new(), |(why, ours)| format!("why: {why}\nours:\n{ours}"));
    format!("=== {}\n{}\n---\n{}{ours}\n", case.name, case.config, case.elder)
}
