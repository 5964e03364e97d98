//! Disks in image files: partition tables and filesystems, read back by other tools where they are installed.

use std::path::Path;
use std::process::Command;

use hostos_config::{Config, Disk, Filesystem, Partition};
use hostos_provision::{Format, Marks, Root, apply, make_filesystem, probe};

const MIB: u64 = 1 << 20;

fn image(size: u64) -> tempfile::NamedTempFile {
    let image = tempfile::NamedTempFile::new().expect("a temporary file");
    image.as_file().set_len(size).expect("it is sparse");
    image
}

fn run(config: &Config) -> Result<(), String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = Root::open(directory.path()).expect("it is there");
    apply(config, &root).map(|_| ()).map_err(|error| error.to_string())
}

fn partition(number: i64, label: &str, size_mib: i64) -> Partition {
    Partition { number, label: Some(label.into()), size_mib: Some(size_mib), ..Partition::default() }
}

fn with_disk(image: &Path, wipe: bool, partitions: Vec<Partition>) -> Config {
    let device = image.display().to_string();
    let mut config = Config::default();
    config.storage.disks.push(Disk { device, wipe_table: Some(wipe), partitions });
    config
}

/// What `partx` of util-linux sees: number, start, sectors, name.
fn partx(image: &Path) -> Option<Vec<String>> {
    let output =
        Command::new("partx").args(["-g", "-r", "-o", "NR,START,SECTORS,NAME"]).arg(image).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

#[test]
fn a_table_is_written_kept_and_changed() {
    let image = image(100 * MIB);
    let wanted = vec![partition(1, "one", 10), partition(2, "two", 20), partition(0, "rest", 0)];
    run(&with_disk(image.path(), true, wanted.clone())).expect("an empty disk takes it");
    let Some(seen) = partx(image.path()) else {
        must_run::skip("partx is not installed (apt-get install fdisk util-linux)");
        return;
    };
    assert_eq!(seen, ["1 2048 20480 one", "2 22528 40960 two", "3 63488 141279 rest"]);
    let before = std::fs::read(image.path()).expect("it can be read");
    run(&with_disk(image.path(), false, wanted)).expect("it is as wanted");
    assert!(std::fs::read(image.path()).expect("it can be read") == before, "a second run wrote something");

    let error = run(&with_disk(image.path(), false, vec![partition(2, "two", 30)])).expect_err("it differs");
    assert!(error.contains("it exists with another size"), "{error}");
    let gone = Partition {
        number: 2,
        should_exist: Some(false),
        wipe_partition_entry: Some(true),
        ..Partition::default()
    };
    run(&with_disk(image.path(), false, vec![gone])).expect("it may go");
    assert_eq!(partx(image.path()).unwrap_or_default(), ["1 2048 20480 one", "3 63488 141279 rest"]);
}

#[test]
fn nothing_is_written_when_something_does_not_fit() {
    let image = image(100 * MIB);
    let mut config = with_disk(image.path(), true, vec![partition(1, "one", 1000)]);
    config.storage.filesystems.push(Filesystem {
        device: image.path().display().to_string(),
        format: Some("ext4".into()),
        ..Filesystem::default()
    });
    let error = run(&config).expect_err("it is too large");
    assert!(error.ends_with("it needs 1000 MiB, there are 98 MiB free"), "{error}");
    assert_eq!(std::fs::read(image.path()).expect("it can be read").iter().find(|byte| **byte != 0), None);
}

#[test]
fn filesystems_are_recognised_by_us_and_by_blkid() {
    let uuid = "0a1b2c3d-0000-1111-2222-333344445555";
    for (format, label, uuid) in
        [(Format::Ext4, "data", uuid), (Format::Vfat, "EFI-SYS", "12AB-34CD"), (Format::Swap, "swap", uuid)]
    {
        let image = image(64 * MIB);
        make_filesystem(image.path(), format, &Marks { label: Some(label), uuid: Some(uuid) })
            .expect("it is made");
        let found = probe(image.path()).expect("it can be read");
        assert_eq!(
            (found.format.as_str(), found.label.as_str(), found.uuid.as_str()),
            (format.name(), label, uuid)
        );
        let Ok(output) =
            Command::new("/usr/sbin/blkid").args(["-p", "-o", "export"]).arg(image.path()).output()
        else {
            must_run::skip("blkid is not installed");
            continue;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        for line in [format!("TYPE={}", format.name()), format!("LABEL={label}"), format!("UUID={uuid}")] {
            assert!(said.lines().any(|other| other == line), "{line} not in {said}");
        }
    }
}

#[test]
fn a_filesystem_that_matches_is_kept_and_another_is_not_overwritten() {
    let image = image(64 * MIB);
    let wanted = |format: &str, label: &str, wipe: bool| {
        let mut config = Config::default();
        config.storage.filesystems.push(Filesystem {
            device: image.path().display().to_string(),
            format: Some(format.into()),
            label: Some(label.into()),
            wipe_filesystem: Some(wipe),
            ..Filesystem::default()
        });
        config
    };
    run(&wanted("ext4", "one", false)).expect("an empty disk takes it");
    let first = probe(image.path()).expect("it can be read");
    run(&wanted("ext4", "one", false)).expect("it matches");
    assert_eq!(probe(image.path()).expect("it can be read"), first, "it was made anew");
    let error = run(&wanted("vfat", "two", false)).expect_err("something else is there");
    assert!(
        error.contains("holds ext4 labelled `one` already, the config wants vfat labelled `two`"),
        "{error}"
    );
    run(&wanted("vfat", "two", true)).expect("it may be wiped");
    assert_eq!(probe(image.path()).expect("it can be read").format, "vfat");
    run(&wanted("ext4", "one", true)).expect("it may be wiped");
    assert_ne!(probe(image.path()).expect("it can be read").uuid, first.uuid);
}

#[test]
fn what_we_cannot_do_is_refused_before_anything_is_touched() {
    let image = image(64 * MIB);
    let mut config = with_disk(image.path(), true, Vec::new());
    config.storage.filesystems.push(Filesystem {
        device: image.path().display().to_string(),
        format: Some("xfs".into()),
        ..Filesystem::default()
    });
    let error = run(&config).expect_err("there is no xfs");
    assert!(error.starts_with("xfs filesystems are not supported yet"), "{error}");
    assert_eq!(std::fs::read(image.path()).expect("it can be read").iter().find(|byte| **byte != 0), None);
}
