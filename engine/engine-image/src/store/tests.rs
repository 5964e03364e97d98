//! The store through its whole life, on a real disk. Needs root for devices and overlay mounts.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use super::*;
use crate::archive::{Entry, Kind, Writer};
use crate::config::{ImageConfig, RootFs};
use crate::event::Event;

pub(crate) fn tar_of(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, content) in entries {
        if entry.kind == Kind::File {
            writer.file(entry, content).expect("to memory");
        } else {
            writer.entry(entry).expect("to memory");
        }
    }
    writer.finish().expect("to memory")
}

fn file<'a>(path: &str, content: &'a str) -> (Entry, &'a [u8]) {
    (Entry::new(path, Kind::File, 0o644), content.as_bytes())
}

fn folder(path: &str) -> (Entry, &'static [u8]) {
    (Entry::new(path, Kind::Folder, 0o755), b"")
}

fn link(path: &str, target: &str) -> (Entry, &'static [u8]) {
    let mut entry = Entry::new(path, Kind::Symlink, 0o777);
    entry.link = target.into();
    (entry, b"")
}

fn hard_link(path: &str, target: &str) -> (Entry, &'static [u8]) {
    let mut entry = Entry::new(path, Kind::HardLink, 0o644);
    entry.link = target.into();
    (entry, b"")
}

struct Place {
    folder: tempfile::TempDir,
    store: Store,
}

fn place() -> Option<Place> {
    if !rustix::process::geteuid().is_root() {
        must_run::skip("needs root");
        return None;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(&folder.path().join("data")).expect("a new store");
    Some(Place { folder, store })
}

fn image_of(store: &Store, layers: &[Vec<u8>]) -> Arc<Image> {
    let holds: Vec<LayerHold> =
        layers.iter().map(|tar| store.import_layer(&tar[..]).expect("unpacked")).collect();
    let diff_ids = holds.iter().map(|hold| *hold.diff_id()).collect();
    let rootfs = RootFs { diff_ids, ..RootFs::default() };
    let config =
        ImageConfig { os: "linux".into(), architecture: "amd64".into(), rootfs, ..ImageConfig::default() };
    store.create_image(&config, None).expect("made")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names = recover::list(folder).expect("listed");
    names.sort();
    names
}

#[test]
fn layers_come_back_byte_for_byte() {
    let Some(place) = place() else { return };
    let tar = tar_of(&[
        folder("d"),
        file("d/a", "first"),
        file("d/a", "second"),
        hard_link("d/b", "d/a"),
        link("d/l", "/etc/passwd"),
        file("d/.wh.gone", ""),
        file("e/.wh..wh..opq", ""),
        file("empty", ""),
    ]);
    let hold = place.store.import_layer(&tar[..]).expect("unpacked");
    assert_eq!(*hold.diff_id(), Digest::of(&tar));
    let mut again = Vec::new();
    place.store.write_layer_tar(hold.layer(), &mut again).expect("written");
    assert_eq!(again, tar);
    let root = place.store.layer_dir(hold.layer());
    assert_eq!(fs::read(root.join("d/b")).expect("linked"), b"second");
    let gone = fs::symlink_metadata(root.join("d/gone")).expect("whiteout");
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
}

#[test]
fn unheld_layers_go_and_images_keep_theirs() {
    let Some(place) = place() else { return };
    let store = &place.store;
    drop(store.import_layer(&tar_of(&[file("x", "1")])[..]).expect("unpacked"));
    assert!(names(&store.root().join("layers")).is_empty());
    let image = image_of(store, &[tar_of(&[file("x", "1")]), tar_of(&[file("y", "22")])]);
    assert_eq!(image.size, 3);
    let reference = Reference::parse("app:1").expect("fine");
    store.tag(&image.id, &reference).expect("tagged");
    let again = Store::open(store.root()).expect("opened again");
    assert_eq!(again.lookup("app:1").expect("found").id, image.id);
    assert_eq!(again.lookup(&image.id.short()).expect("by short id").id, image.id);
    assert_eq!(again.lookup("nope").expect_err("absent").to_string(), "No such image: nope:latest");
    let removed = again.remove("app:1", false, true, &|_| Vec::new()).expect("removed");
    assert_eq!(removed[0], Removed::Untagged("app:1".into()));
    assert_eq!(removed[1], Removed::Deleted(image.id));
    assert_eq!(removed.len(), 4);
    for folder in ["layers", "images", "l"] {
        assert!(names(&again.root().join(folder)).is_empty(), "{folder} is empty");
    }
}

#[test]
fn removal_conflicts_read_as_dockers() {
    let Some(place) = place() else { return };
    let store = &place.store;
    let image = image_of(store, &[tar_of(&[file("x", "1")])]);
    for tag in ["a:1", "b:1"] {
        store.tag(&image.id, &Reference::parse(tag).expect("fine")).expect("tagged");
    }
    let short = image.id.short();
    let none = |_: &ImageId| Vec::new();
    let error = store.remove(&short, false, true, &none).expect_err("two repositories");
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )
    );
    store.remove("b:1", false, true, &none).expect("one tag may go");
    let running = |_: &ImageId| vec![Usage { container: "c".repeat(64), running: true }];
    let error = store.remove("a:1", false, true, &running).expect_err("in use");
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to remove repository reference \"a:1\" (must force) - container cccccccccccc is using its referenced image {short}"
        )
    );
    let error = store.remove(&short, true, true, &running).expect_err("in use");
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container cccccccccccc"
        )
    );
}

#[test]
fn writable_layers_diff_and_commit() {
    let Some(place) = place() else { return };
    let store = &place.store;
    let image = image_of(store, &[tar_of(&[folder("etc"), file("etc/keep", "k"), file("etc/old", "o")])]);
    let writable = store.create_writable("c1", Some(&image.id), true).expect("made");
    let root = store.view_writable(&writable).expect("mounted");
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&root));
    assert!(Path::new(&path).join("etc/hosts").exists(), "mount points are there");
    fs::write(Path::new(&path).join("etc/new"), "n").expect("written");
    fs::write(Path::new(&path).join("etc/keep"), "changed").expect("written");
    fs::remove_file(Path::new(&path).join("etc/old")).expect("removed");
    drop(root);
    let changes: Vec<String> = store
        .changes(&writable)
        .expect("compared")
        .into_iter()
        .map(|change| format!("{:?} {}", change.kind, change.path.display()))
        .collect();
    assert_eq!(changes, ["Modified /etc", "Modified /etc/keep", "Added /etc/new", "Deleted /etc/old"]);
    let copy = store.commit_writable(&writable).expect("committed");
    let layer = store.turn_into_layer(&writable).expect("turned");
    assert_eq!(copy.diff_id(), layer.diff_id());
    assert!(store.writable("c1").is_none());
    let mut tar = Vec::new();
    store.write_layer_tar(layer.layer(), &mut tar).expect("the same tar again");
    assert_eq!(Digest::of(&tar), *layer.diff_id());
}

#[test]
fn an_interrupted_store_is_clean_at_the_next_start() {
    let Some(place) = place() else { return };
    let root = place.store.root().to_owned();
    let image = image_of(&place.store, &[tar_of(&[file("x", "1")])]);
    place.store.tag(&image.id, &Reference::parse("a").expect("fine").with_default_tag()).expect("tagged");
    // Every point at which a kill can leave something: unfinished folders and files, a layer without image, …
    fs::create_dir_all(root.join("tmp/7/half")).expect("made");
    fs::create_dir_all(root.join("l/zz")).expect("made");
    fs::write(root.join("layers").join(format!("{}.split", "b".repeat(64))), "x").expect("made");
    fs::write(root.join("blobs").join("c".repeat(64)), "x").expect("made");
    fs::write(root.join("images").join(format!("{}.json", "d".repeat(64))), "{}").expect("made");
    fs::create_dir_all(root.join("rw/dead/diff")).expect("made");
    std::mem::forget(place.store.import_layer(&tar_of(&[file("y", "1")])[..]).expect("unpacked"));
    let again = Store::open(&root).expect("opened again");
    assert_eq!(again.images().len(), 1);
    for (folder, count) in [("tmp", 0), ("l", 1), ("blobs", 0), ("images", 2), ("rw", 0), ("layers", 2)] {
        let left: Vec<String> =
            names(&root.join(folder)).into_iter().filter(|name| folder != "tmp" || name.len() > 9).collect();
        assert_eq!(left.len(), count, "{folder}: {left:?}");
    }
    // A layer that was not synced when the power went.
    let marker = root.join("unsynced").join(image.config.rootfs.diff_ids[0].hex());
    fs::write(&marker, "another boot").expect("made");
    let again = Store::open(&root).expect("opened again");
    assert!(again.images().is_empty() && again.references().is_empty());
    drop(place.folder);
}

#[test]
fn hostile_layers_reach_nothing_outside() {
    let Some(place) = place() else { return };
    let outside = place.folder.path().join("outside");
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("canary"), "alive").expect("made");
    let up = "../".repeat(20);
    let absolute = outside.display().to_string();
    let climbing = format!("{up}{absolute}/pwned");
    let mut device = Entry::new("dev", Kind::CharDevice, 0o666);
    device.device = (1, 3);
    let mut huge = Entry::new("huge", Kind::File, 0o644);
    huge.size = u64::MAX / 2;
    let attacks: Vec<Vec<u8>> = vec![
        tar_of(&[file(&climbing, "x")]),
        tar_of(&[link("l", &absolute), file("l/pwned", "x")]),
        tar_of(&[link("l", &absolute), file("l/canary", "x")]),
        tar_of(&[link("l", &format!("{up}{absolute}")), folder("l/sub"), file("l/sub/pwned", "x")]),
        tar_of(&[hard_link("h", &format!("{absolute}/canary")), file("h", "x")]),
        tar_of(&[hard_link("h", &format!("{up}{absolute}/canary"))]),
        tar_of(&[link("l", &format!("{absolute}/canary")), file("l", "x")]),
        tar_of(&[link("l", &absolute), file("l/.wh.canary", "")]),
        tar_of(&[file(&format!("{up}.wh.outside"), "")]),
        tar_of(&[file(".wh...", "")]),
        tar_of(&[file(".wh.", "")]),
        tar_of(&[folder("a"), link("a/l", &absolute), file("a/l/.wh..wh..opq", "")]),
        tar_of(&[link("l", "/proc/self/root"), file("l/pwned", "x")]),
        tar_of(&[(device, b""), file("dev/x", "x")]),
        {
            let mut writer = Writer::new(Vec::new());
            writer.entry(&huge).expect("to memory");
            let _ = writer.write_all(b"short");
            tar_of(&[])
        },
        tar_of(&[link("a", "b"), link("b", "a"), file("a/x", "x")]),
        tar_of(&[file("x", "1"), file("x/y", "2")]),
        tar_of(&[file(&"d/".repeat(5000), "x")]),
    ];
    for (number, tar) in attacks.iter().enumerate() {
        // Refused or bent to the inside, both are fine; nothing outside may change.
        let outcome = place.store.import_layer(&tar[..]).map(|hold| *hold.diff_id());
        assert_eq!(
            fs::read(outside.join("canary")).expect("still there"),
            b"alive",
            "attack {number}: {outcome:?}"
        );
        assert_eq!(names(&outside), ["canary"], "attack {number}: {outcome:?}");
    }
    let truncated = tar_of(&[file("x", "0123456789")]);
    assert!(place.store.import_layer(&truncated[..515]).is_err());
    assert!(names(&place.store.root().join("layers")).is_empty());
    symlink("/nowhere", outside.join("l")).expect("the folder is still ours");
}

#[test]
fn saved_archives_load_again() {
    let Some(place) = place() else { return };
    let store = &place.store;
    let shared = tar_of(&[file("x", "1")]);
    let one = image_of(store, &[shared.clone(), tar_of(&[file("y", "2")]), shared]);
    store.tag(&one.id, &Reference::parse("one:1").expect("fine")).expect("tagged");
    let mut archive = Vec::new();
    store.save(&store.plan_save(&["one".into()]).expect("known"), &mut archive).expect("saved");
    let other = Store::open(&place.folder.path().join("other")).expect("opened");
    let events = Mutex::new(Vec::new());
    let sink = |event: Event| {
        events.lock().expect("not poisoned").push(serde_json::to_string(&event).expect("plain"))
    };
    let ids = other.load(&archive[..], true, &sink).expect("loaded");
    assert_eq!(ids, [one.id]);
    assert_eq!(*events.lock().expect("not poisoned"), [r#"{"stream":"Loaded image: one:1\n"}"#]);
    assert!(matches!(store.plan_save(&["absent".into()]), Err(ImageError::NoSuchImage(_))));
}
