//! What hostile images and containers try. Each test keeps a canary outside.

use std::os::unix::fs::symlink;
use std::time::Duration;

use engine_runtime::spec::{ExecSpec, Mount, MountKind, Process};
use engine_runtime::{Resources, Streams};

use crate::rig::{Rig, collect, rig};

/// The image's root, to be made nasty before the first mount.
fn image(rig: &Rig) -> std::path::PathBuf {
    rig.path("lower")
}

#[tokio::test]
async fn the_runtimes_binary_cannot_be_overwritten() {
    let Some(rig) = rig() else { return };
    let shim = env!("CARGO_BIN_EXE_engine-shim");
    let before = std::fs::read(shim).unwrap();
    // An entry point that is the runtime itself, by way of the interpreter line.
    std::fs::write(image(&rig).join("evil"), "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(image(&rig).join("evil"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let _ = rig.run(rig.spec(&["/evil"])).await;
    // A container that lies in wait for whoever enters it.
    let script = "echo up; while :; do for p in /proc/[0-9]*; do \
                  case $p in /proc/1) ;; *) echo evil 2>/dev/null > $p/exe && echo WROTE;; esac; done; done";
    let mut spec = rig.shell(script);
    spec.process.capabilities.push("SYS_PTRACE".into());
    let process = spec.process.clone();
    let container = rig.prepare(&mut spec).await.unwrap();
    let mut output = container.attach(Streams::OUTPUT).await.unwrap();
    container.start().await.unwrap();
    for number in 0..60 {
        let args = if number % 2 == 0 { vec!["true".to_owned()] } else { vec!["/evil".to_owned()] };
        let exec =
            ExecSpec { id: number.to_string(), process: Process { args, ..process.clone() }, stdin: false };
        if let Ok((_, Some(mut stream))) = container.exec(exec, Streams::OUTPUT).await {
            collect(&mut stream.output).await;
        }
    }
    container.signal(None, libc::SIGKILL).await.unwrap();
    let outcome = collect(&mut output.output).await;
    assert!(!outcome.out().contains("WROTE"), "{}", outcome.out());
    rig.runtime.remove(container.id()).await.unwrap();
    assert!(std::fs::read(shim).unwrap() == before);
    rig.run(rig.spec(&["true"])).await.expect("the runtime still works");
}

#[tokio::test]
async fn no_descriptor_leaks_in_and_no_working_directory_leads_out() {
    let Some(rig) = rig() else { return };
    // Descriptors of the engine that a careless spawn would pass on.
    let _leak = std::fs::File::open("/").unwrap();
    let outcome = rig.run(rig.spec(&["ls", "/proc/self/fd"])).await.unwrap();
    assert_eq!(outcome.out(), "0\n1\n2\n3\n", "the fourth is the listing's own");
    for number in 0..24 {
        let mut spec = rig.shell("pwd; ls /canary 2>/dev/null");
        spec.process.cwd = format!("/proc/self/fd/{number}");
        match rig.run(spec).await {
            Ok(outcome) => panic!("working directory {number}: {outcome:?}"),
            Err(error) => assert!(error.to_string().starts_with("chdir to cwd"), "{error}"),
        }
    }
    let mut spec = rig.spec(&["sleep", "100"]);
    let process = spec.process.clone();
    let container = rig.prepare(&mut spec).await.unwrap();
    container.start().await.unwrap();
    for number in 0..24 {
        let process =
            Process { cwd: format!("/proc/self/fd/{number}"), args: vec!["pwd".into()], ..process.clone() };
        let exec = ExecSpec { id: number.to_string(), process, stdin: false };
        assert!(container.exec(exec, Streams::OUTPUT).await.is_err(), "exec in {number}");
    }
    let process = Process { args: vec!["ls".into(), "/proc/self/fd".into()], ..process.clone() };
    let exec = ExecSpec { id: "fds".into(), process, stdin: false };
    let (_, stream) = container.exec(exec, Streams::OUTPUT).await.unwrap();
    assert_eq!(collect(&mut stream.unwrap().output).await.out(), "0\n1\n2\n3\n");
    container.signal(None, libc::SIGKILL).await.unwrap();
    container.wait().await;
    rig.runtime.remove(container.id()).await.unwrap();
}

#[tokio::test]
async fn proc_sys_and_dev_go_onto_real_directories_only() {
    for name in ["proc", "sys", "dev"] {
        let Some(rig) = rig() else { return };
        std::fs::create_dir(rig.path("canary")).unwrap();
        symlink(rig.path("canary"), image(&rig).join(name)).unwrap();
        let error = rig.run(rig.spec(&["true"])).await.unwrap_err().to_string();
        assert!(error.contains("must be mounted on ordinary directory"), "{name}: {error}");
        assert_eq!(std::fs::read_dir(rig.path("canary")).unwrap().count(), 0, "{name}");
    }
}

#[tokio::test]
async fn nothing_is_mounted_over_proc_by_any_road() {
    let Some(rig) = rig() else { return };
    std::fs::create_dir(rig.path("volume")).unwrap();
    std::fs::create_dir(rig.path("volume/self")).unwrap();
    symlink("/proc", image(&rig).join("road")).unwrap();
    symlink("/proc/sys/kernel", image(&rig).join("other")).unwrap();
    for target in ["/proc", "/proc/", "/x/../proc", "/proc/self/attr", "/road", "/road/sys", "/other"] {
        let mut spec = rig.spec(&["true"]);
        spec.mounts = vec![Mount { source: rig.path("volume"), target: target.into(), ..Mount::default() }];
        let error = rig.run(spec).await.unwrap_err().to_string();
        assert!(error.contains("/proc") || error.contains("proc"), "{target}: {error}");
    }
}

#[tokio::test]
async fn an_images_own_null_device_masks_nothing() {
    let Some(rig) = rig() else { return };
    // The image's /dev is covered by ours; a volume over /dev is the way to bring one's own.
    std::fs::create_dir_all(rig.path("devs/pts")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", rig.path("devs/null")).unwrap();
    let pattern = std::fs::read("/proc/sys/kernel/core_pattern").unwrap();
    let mut spec = rig
        .shell("echo '|/evil' > /proc/timer_list; echo '|/evil' > /dev/null; cat /proc/timer_list | wc -c");
    spec.mounts = vec![Mount { source: rig.path("devs"), target: "/dev".into(), ..Mount::default() }];
    match rig.run(spec).await {
        Ok(outcome) => assert!(outcome.out().is_empty() || outcome.out() == "0\n", "{outcome:?}"),
        Err(error) => println!("refused: {error}"),
    }
    assert_eq!(std::fs::read("/proc/sys/kernel/core_pattern").unwrap(), pattern);
}

#[tokio::test]
async fn a_prepared_dev_pts_does_not_become_the_console() {
    let Some(rig) = rig() else { return };
    std::fs::create_dir_all(rig.path("pts")).unwrap();
    std::fs::write(rig.path("canary"), "quiet").unwrap();
    symlink("/proc/sys/kernel/core_pattern", rig.path("pts/0")).unwrap();
    symlink(rig.path("canary"), rig.path("pts/ptmx")).unwrap();
    let mut spec = rig.shell("echo evil > /dev/console; true");
    spec.process.tty = true;
    spec.mounts = vec![Mount { source: rig.path("pts"), target: "/dev/pts".into(), ..Mount::default() }];
    let _ = rig.run(spec).await;
    assert_eq!(std::fs::read_to_string(rig.path("canary")).unwrap(), "quiet");
}

#[tokio::test]
async fn a_mount_target_exchanged_by_a_neighbour_stays_inside() {
    let Some(rig) = rig() else { return };
    let shared = rig.path("shared");
    std::fs::create_dir_all(shared.join("target")).unwrap();
    std::fs::create_dir(rig.path("canary")).unwrap();
    std::fs::create_dir(rig.path("payload")).unwrap();
    symlink(rig.path("canary"), shared.join("link")).unwrap();
    let mut swapper = rig.shell(
        "while :; do mv -T /s/target /s/t2; mv -T /s/link /s/target; mv -T /s/target /s/link; mv -T /s/t2 /s/target; done",
    );
    swapper.mounts = vec![Mount { source: shared.clone(), target: "/s".into(), ..Mount::default() }];
    let neighbour = rig.prepare(&mut swapper).await.unwrap();
    neighbour.start().await.unwrap();
    for _ in 0..40 {
        let mut victim = rig.spec(&["true"]);
        victim.mounts = vec![
            Mount { source: shared.clone(), target: "/s".into(), ..Mount::default() },
            Mount { source: rig.path("payload"), target: "/s/target/made/deep".into(), ..Mount::default() },
            Mount { kind: MountKind::Tmpfs, target: "/s/target".into(), ..Mount::default() },
        ];
        let _ = rig.run(victim).await;
    }
    neighbour.signal(None, libc::SIGKILL).await.unwrap();
    neighbour.wait().await;
    rig.runtime.remove(neighbour.id()).await.unwrap();
    assert_eq!(std::fs::read_dir(rig.path("canary")).unwrap().count(), 0);
}

#[tokio::test]
async fn cp_through_the_safe_root_survives_exchanged_directories() {
    let Some(rig) = rig() else { return };
    std::fs::write(rig.path("canary"), "host secret").unwrap();
    let script = format!(
        "mkdir /t/a; echo -n inside > /t/a/canary; ln -s {} /t/b; echo ready; sleep 0.1; \
         while :; do mv /t/a /t/c; mv /t/b /t/a; rm /t/a; ln -s {0} /t/b; mv /t/c /t/a; done",
        rig.dir.path().display()
    );
    let mut spec = rig.shell(&script);
    spec.mounts = vec![Mount { kind: MountKind::Tmpfs, target: "/t".into(), ..Mount::default() }];
    let container = rig.prepare(&mut spec).await.unwrap();
    let mut stream = container.attach(Streams::OUTPUT).await.unwrap();
    container.start().await.unwrap();
    stream.output.next().await.unwrap();
    let root = container.root().unwrap();
    let mut inside = 0;
    let end = std::time::Instant::now() + Duration::from_secs(1);
    while std::time::Instant::now() < end {
        if let Ok(bytes) = root.read("/t/a/canary", 1000) {
            assert_eq!(bytes, b"inside");
            inside += 1;
        }
    }
    assert!(inside > 0);
    container.signal(None, libc::SIGKILL).await.unwrap();
    container.wait().await;
    rig.runtime.remove(container.id()).await.unwrap();
}

#[tokio::test]
async fn default_privileges_do_not_mount_unshare_or_open_strange_sockets() {
    let Some(rig) = rig() else { return };
    let script = "mkdir /m; mount -t tmpfs x /m 2>&1 | head -1; mount -t cgroup -o memory c /m 2>/dev/null && echo MOUNTED; \
                  unshare -U true 2>/dev/null && echo UNSHARED; unshare -r true 2>/dev/null && echo UNSHARED; \
                  hostname evil 2>/dev/null && echo RENAMED; \
                  for f in /sys/fs/cgroup/*/release_agent; do echo /x 2>/dev/null > $f && echo AGENT; done; \
                  mknod /disk b 8 0 && head -c1 /disk 2>/dev/null && echo DISK; \
                  chroot / true && echo chroot";
    let outcome = rig.run(rig.shell(script)).await.unwrap();
    let out = outcome.out();
    for forbidden in ["MOUNTED", "UNSHARED", "RENAMED", "AGENT", "DISK"] {
        assert!(!out.contains(forbidden), "{out}");
    }
    assert!(out.contains("denied") || out.contains("permitted"), "{out}");
    assert!(out.ends_with("chroot\n"), "{out}");
}

#[tokio::test]
async fn the_shim_has_no_abstract_socket_and_huge_specs_are_no_trouble() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.spec(&["sh", "-c", "echo ${#BIG}"]);
    spec.process.env.push(format!("BIG={}", "x".repeat(100_000)));
    let container = rig.prepare_limited(&mut spec, &Resources::default()).await.unwrap();
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    assert!(!sockets.lines().any(|line| line.contains('@') && line.contains("shim")));
    assert_eq!(rig.run_prepared(container).await.unwrap().out(), "100000\n");
    let mut spec = rig.spec(&["true"]);
    spec.process.env.push(format!("BIG={}", "x".repeat(300_000)));
    let error = tokio::time::timeout(Duration::from_secs(20), rig.run(spec)).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("argument list too long"), "{error}");
}
