//! Real block devices: loop devices, in a mount namespace of the test's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use hostos_config::{Config, Disk, File, Filesystem, Partition};
use hostos_provision::{Format, Marks, Root, apply, from_command_line, from_config_drive, make_filesystem};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const MIB: u64 = 1 << 20;

/// A loop device over an image file, detached when it is dropped.
struct Loop {
    device: PathBuf,
    _image: tempfile::NamedTempFile,
}

impl Loop {
    fn attach(image: tempfile::NamedTempFile) -> Option<Self> {
        let output = Command::new("losetup").args(["-P", "-f", "--show"]).arg(image.path()).output().ok()?;
        let device = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        output.status.success().then_some(Self { device, _image: image })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.device).status();
    }
}

fn image(size: u64) -> tempfile::NamedTempFile {
    let image = tempfile::NamedTempFile::new().expect("a temporary file");
    image.as_file().set_len(size).expect("it is sparse");
    image
}

/// Whether the test has a mount namespace of its own now.
fn own_mounts() -> bool {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let own = unshare(CloneFlags::CLONE_NEWNS).is_ok()
        && mount(None::<&str>, "/", None::<&str>, private, None::<&str>).is_ok();
    if !own {
        must_run::skip("a mount namespace needs root");
    }
    own
}

#[test]
fn files_go_to_the_filesystems_of_the_config() {
    if !own_mounts() {
        return;
    }
    let Some(disk) = Loop::attach(image(64 * MIB)) else {
        println!("skipped: no loop device is free");
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = Root::open(directory.path()).expect("it is there");
    let device = disk.device.display().to_string();
    let mut config = Config::default();
    config.storage.filesystems.push(Filesystem {
        device: device.clone(),
        format: Some("ext4".into()),
        path: Some("/var/data".into()),
        mount_options: vec!["noatime".into()],
        ..Filesystem::default()
    });
    config.storage.files.push(File::inline("/var/data/deep/file", 0o640, "on the disk"));
    config.storage.files.push(File::inline("/etc/file", 0o640, "on the root"));
    for _ in 0..2 {
        apply(&config, &root).unwrap_or_else(|error| panic!("{error:?}"));
    }
    assert!(!directory.path().join("var/data/deep").exists(), "it was not unmounted, or written to the root");
    mount(
        Some(disk.device.as_path()),
        &directory.path().join("var/data"),
        Some("ext4"),
        MsFlags::empty(),
        None::<&str>,
    )
    .expect("the kernel takes it");
    let content = std::fs::read_to_string(directory.path().join("var/data/deep/file")).expect("it is there");
    assert_eq!(content, "on the disk");
    nix::mount::umount(&directory.path().join("var/data")).expect("nobody uses it");
}

#[test]
fn the_kernel_sees_new_partitions_under_their_labels() {
    if !own_mounts() {
        return;
    }
    let Some(disk) = Loop::attach(image(64 * MIB)) else {
        println!("skipped: no loop device is free");
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = Root::open(directory.path()).expect("it is there");
    let mut config = Config::default();
    let label = format!("rm-test-{}", std::process::id());
    config.storage.disks.push(Disk {
        device: disk.device.display().to_string(),
        wipe_table: Some(true),
        partitions: vec![Partition { number: 1, label: Some(label.clone()), ..Partition::default() }],
    });
    config.storage.filesystems.push(Filesystem {
        device: format!("/dev/disk/by-partlabel/{label}"),
        format: Some("vfat".into()),
        ..Filesystem::default()
    });
    let first = PathBuf::from(format!("{}p1", disk.device.display()));
    match apply(&config, &root) {
        Ok(_) => {}
        Err(error) if !first.exists() => {
            println!("skipped: this kernel shows no partitions of loop devices ({error})");
            return;
        }
        Err(error) => panic!("{error:?}"),
    }
    assert_eq!(hostos_provision::probe(&first).expect("it can be read").format, "vfat");
}

#[test]
fn a_config_drive_is_found_and_read() {
    if !own_mounts() {
        return;
    }
    // Such drives are iso9660 or vfat, which not every kernel has; what is read is the same.
    let drive = image(16 * MIB);
    let label = Marks { label: Some("config-2"), uuid: None };
    make_filesystem(drive.path(), Format::Ext4, &label).expect("it is made");
    let Some(drive) = Loop::attach(drive) else {
        println!("skipped: no loop device is free");
        return;
    };
    write_user_data(&drive.device, br#"{"ignition":{"version":"3.0.0"}}"#);
    let device = drive.device.display();
    let line = format!("ignition.config.device={device} ignition.config.path=/openstack/latest/user_data");
    let by_name = from_command_line(&line).expect("it can be read").expect("it is there");
    assert_eq!(by_name.bytes, br#"{"ignition":{"version":"3.0.0"}}"#);
    let by_label = from_config_drive().expect("it can be read").expect("it is there");
    assert_eq!(by_label.bytes, by_name.bytes);
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("/proc is there");
    assert!(!mounts.contains(&drive.device.display().to_string()), "it stays mounted");
}

fn write_user_data(device: &Path, content: &[u8]) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    mount(Some(device), directory.path(), Some("ext4"), MsFlags::empty(), None::<&str>)
        .expect("the kernel takes it");
    let latest = directory.path().join("openstack/latest");
    std::fs::create_dir_all(&latest).expect("there is room");
    std::fs::write(latest.join("user_data"), content).expect("there is room");
    nix::mount::umount(directory.path()).expect("nobody uses it");
}
