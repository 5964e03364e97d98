//! File systems: the standard ones, volumes, read-only and masked places.

use std::path::Path;

use engine_runtime::mount_root;
use engine_runtime::spec::{Device, Mount, MountKind, Rootfs};

use crate::rig::rig;

fn bind(source: &Path, target: &str) -> Mount {
    Mount { source: source.into(), target: target.into(), ..Mount::default() }
}

#[tokio::test]
async fn volumes_binds_and_tmpfs_are_where_they_should_be() {
    let Some(rig) = rig() else { return };
    let volume = rig.path("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("file"), "data\n").unwrap();
    std::fs::write(rig.path("hosts"), "127.0.0.1 localhost\n").unwrap();
    let mut spec = rig.shell(
        "cat /data/file; echo new > /data/new; cat /etc/hosts; touch /ro/x || echo ro; \
         df -k /scratch | tail -1 | tr -s ' ' | cut -d' ' -f2; stat -c %a /scratch; ls /deep/down/here",
    );
    spec.mounts = vec![
        bind(&volume, "/data"),
        bind(&rig.path("hosts"), "/etc/hosts"),
        Mount { readonly: true, ..bind(&volume, "/ro") },
        Mount {
            kind: MountKind::Tmpfs,
            target: "/scratch".into(),
            data: "size=65536k,mode=700".into(),
            ..Mount::default()
        },
        bind(&volume, "/deep/down/here"),
    ];
    let outcome = rig.run(spec).await.unwrap();
    assert_eq!(outcome.out(), "data\n127.0.0.1 localhost\nro\n65536\n700\nfile\nnew\n", "{}", outcome.err());
    assert_eq!(std::fs::read_to_string(volume.join("new")).unwrap(), "new\n");
}

#[tokio::test]
async fn a_missing_source_is_told_with_both_paths() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.spec(&["true"]);
    spec.mounts = vec![bind(Path::new("/nosuch"), "/data")];
    let error = rig.run(spec).await.unwrap_err().to_string();
    assert_eq!(error, "error mounting \"/nosuch\" to rootfs at \"/data\": no such file or directory");
}

#[tokio::test]
async fn dev_proc_and_sys_are_a_containers() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.shell(
        "ls /dev | tr '\\n' ' '; echo; stat -c '%t:%T %a' /dev/null /dev/extra; \
         echo x > /proc/sys/kernel/hostname || echo ro-sys; cat /proc/kcore | wc -c; ls /sys/firmware | wc -l; \
         touch /sys/x 2>/dev/null || echo ro; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2; \
         cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ls -d /sys/fs/cgroup/*/cgroup.procs | wc -l",
    );
    spec.devices = vec![Device {
        path: "/dev/extra".into(),
        kind: 'c',
        major: 1,
        minor: 3,
        mode: 0o640,
        ..Device::default()
    }];
    spec.standard_mounts.shm_size = 1 << 20;
    spec.sysctl.insert("net.ipv4.ip_unprivileged_port_start".into(), "0".into());
    let outcome = rig.run(spec).await.unwrap();
    let out = outcome.out();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[0].trim().trim_start_matches("core "),
        "extra fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
        "{outcome:?}"
    );
    assert_eq!(lines[1..3], ["1:3 666", "1:3 640"]);
    assert_eq!(lines[3..9], ["ro-sys", "0", "0", "ro", "1024", "0"], "{}", outcome.err());
    assert!(lines[9].parse::<u32>().unwrap() >= 1 || rig.runtime.cgroups().version() == 2);
}

#[tokio::test]
async fn a_read_only_root_takes_no_write_but_its_volumes_do() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.shell("touch /x || echo no; touch /tmp/y && echo yes; touch /dev/shm/z && echo yes");
    spec.readonly_rootfs = true;
    spec.mounts = vec![Mount { kind: MountKind::Tmpfs, target: "/tmp".into(), ..Mount::default() }];
    assert_eq!(rig.run(spec).await.unwrap().out(), "no\nyes\nyes\n");
}

#[tokio::test]
async fn many_layers_mount_and_the_topmost_wins() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.spec(&["cat", "/which"]);
    let Rootfs::Overlay { lower, .. } = &mut spec.rootfs else { panic!("not an overlay") };
    for number in 0..60 {
        let layer = rig.path(&format!("layer-with-a-rather-long-name-{number:060}"));
        std::fs::create_dir(&layer).unwrap();
        std::fs::write(layer.join("which"), format!("{number}\n")).unwrap();
        lower.insert(0, layer);
    }
    assert_eq!(rig.run(spec).await.unwrap().out(), "59\n");
}

#[tokio::test]
async fn a_stopped_containers_files_are_reached_and_nothing_stays_mounted() {
    let Some(rig) = rig() else { return };
    let volume = rig.path("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("in-volume"), "v").unwrap();
    let mut spec = rig.shell("echo hello > /left; ln -s /etc/passwd /link");
    spec.mounts = vec![bind(&volume, "/vol")];
    rig.run(spec.clone()).await.unwrap();
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    std::fs::create_dir(rig.path("place")).unwrap();
    let root = mount_root(&spec.rootfs, &spec.mounts, &rig.path("place")).unwrap();
    assert_eq!(root.read("/left", 100).unwrap(), b"hello\n");
    assert_eq!(root.read("/vol/in-volume", 100).unwrap(), b"v");
    assert!(root.read("/link", 1000).unwrap().starts_with(b"root:x:0:0"), "the container's own passwd");
    assert_eq!(std::fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    assert_eq!(std::fs::read_dir(rig.path("place")).unwrap().count(), 0);
    drop(root);
    rig.run(spec).await.expect("the layers can be mounted again");
}

#[tokio::test]
async fn a_running_containers_files_are_reached_through_its_own_eyes() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.shell("echo inside > /tmp/f; echo ready; sleep 100");
    spec.mounts = vec![Mount { kind: MountKind::Tmpfs, target: "/tmp".into(), ..Mount::default() }];
    let container = rig.prepare(&mut spec).await.unwrap();
    let mut stream = container.attach(engine_runtime::Streams::OUTPUT).await.unwrap();
    container.start().await.unwrap();
    stream.output.next().await.unwrap();
    assert_eq!(container.root().unwrap().read("/tmp/f", 100).unwrap(), b"inside\n");
    container.signal(None, libc::SIGKILL).await.unwrap();
    container.wait().await;
    rig.runtime.remove(container.id()).await.unwrap();
}
