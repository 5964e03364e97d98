//! From prepare to exit: streams, exit codes, exec, terminals, adoption.

use std::time::{Duration, Instant};

use engine_runtime::spec::{ExecSpec, Process, Stdin};
use engine_runtime::{Adopted, Chunk, RuntimeError, Streams};

use crate::rig::{collect, new_runtime, rig};

fn start_error(error: RuntimeError) -> (i32, String) {
    match error {
        RuntimeError::Start { code, message } => (code, message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn output_and_exit_code_come_back() {
    let Some(rig) = rig() else { return };
    let outcome = rig.run(rig.shell("echo out; echo err >&2; exit 3")).await.unwrap();
    assert_eq!((outcome.out().as_str(), outcome.err().as_str(), outcome.exit.code), ("out\n", "err\n", 3));
    let outcome = rig.run(rig.shell("kill -TERM $$; sleep 9 & wait")).await.unwrap();
    // Process 1 ignores signals it has no handler for, from inside too.
    assert_eq!(outcome.exit.code, 0, "{outcome:?}");
}

#[tokio::test]
async fn no_byte_of_a_short_program_is_lost() {
    let Some(rig) = rig() else { return };
    for round in 0..20 {
        let outcome = rig.run(rig.shell("seq 1 20000")).await.unwrap();
        assert_eq!(outcome.stdout.len(), 108_894, "round {round}");
        assert!(outcome.out().ends_with("19999\n20000\n"));
    }
}

#[tokio::test]
async fn what_cannot_run_is_told_in_dockers_words() {
    let Some(rig) = rig() else { return };
    let fail = async |spec| start_error(rig.run(spec).await.unwrap_err());
    assert_eq!(
        fail(rig.spec(&["nosuch"])).await,
        (127, "exec: \"nosuch\": executable file not found in $PATH".into())
    );
    assert_eq!(
        fail(rig.spec(&["/nosuch"])).await,
        (127, "exec: \"/nosuch\": stat /nosuch: no such file or directory".into())
    );
    assert_eq!(fail(rig.spec(&["/etc"])).await, (126, "exec: \"/etc\": is a directory".into()));
    assert_eq!(
        fail(rig.spec(&["/etc/passwd"])).await,
        (126, "exec: \"/etc/passwd\": permission denied".into())
    );
    let mut spec = rig.spec(&["true"]);
    spec.process.user = "nosuch".into();
    assert_eq!(fail(spec).await.1, "unable to find user nosuch: no matching entries in passwd file");
    let mut spec = rig.spec(&["true"]);
    spec.process.cwd = "/etc/passwd".into();
    assert_eq!(
        fail(spec).await.1,
        "chdir to cwd (\"/etc/passwd\") set in config.json failed: not a directory"
    );
}

#[tokio::test]
async fn the_container_is_what_was_asked_for() {
    let Some(rig) = rig() else { return };
    let mut spec =
        rig.shell("id -u; id -g; id -G; echo $HOME; pwd; hostname; echo $$; ls /proc/self/fd | wc -l; umask");
    spec.process.user = "web".into();
    spec.process.cwd = "/made/by/us".into();
    let outcome = rig.run(spec).await.unwrap();
    // `ls` itself holds a fourth descriptor on the directory.
    assert_eq!(
        outcome.out(),
        "33\n33\n33 29\n/var/www\n/made/by/us\ntesthost\n1\n4\n0022\n",
        "{}",
        outcome.err()
    );
}

#[tokio::test]
async fn capabilities_and_privileges_are_dockers() {
    let Some(rig) = rig() else { return };
    let script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\t' | tr '\\n' ' '";
    let root = rig.run(rig.shell(script)).await.unwrap().out();
    assert_eq!(
        root.trim(),
        "CapInh:0000000000000000 CapPrm:00000000a80425fb CapEff:00000000a80425fb CapBnd:00000000a80425fb \
         CapAmb:0000000000000000 NoNewPrivs:0 Seccomp:2"
    );
    let mut spec = rig.shell(script);
    spec.process.user = "1000".into();
    spec.process.no_new_privileges = true;
    let user = rig.run(spec).await.unwrap().out();
    assert!(
        user.contains("CapPrm:0000000000000000 CapEff:0000000000000000 CapBnd:00000000a80425fb"),
        "{user}"
    );
    assert!(user.contains("NoNewPrivs:1"), "{user}");
}

#[tokio::test]
async fn stdin_reaches_the_program_and_its_end_ends_it() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.spec(&["md5sum"]);
    spec.stdin = Stdin::Once;
    let container = rig.prepare(&mut spec).await.unwrap();
    let mut stream = container.attach(Streams::ALL).await.unwrap();
    container.start().await.unwrap();
    let bytes = vec![b'x'; 3_000_000];
    stream.input.write(&bytes).await.unwrap();
    stream.input.finish().await.unwrap();
    let outcome = collect(&mut stream.output).await;
    assert_eq!(outcome.out(), "8e32e22642bddc89698e25a4e9bf528b  -\n");
    rig.runtime.remove(container.id()).await.unwrap();
}

#[tokio::test]
async fn a_terminal_echoes_and_resizes() {
    let Some(rig) = rig() else { return };
    let mut spec =
        rig.shell("stty size; read line; stty size; tty; echo got $line; ls -l /dev/console | cut -c1");
    spec.process.tty = true;
    spec.process.console_size = Some((24, 80));
    spec.stdin = Stdin::Open;
    let container = rig.prepare(&mut spec).await.unwrap();
    let mut stream = container.attach(Streams::ALL).await.unwrap();
    container.start().await.unwrap();
    let Chunk::Stdout(first) = stream.output.next().await.unwrap() else { panic!("no output") };
    assert_eq!(String::from_utf8_lossy(&first), "24 80\r\n");
    container.resize(None, 30, 100).await.unwrap();
    stream.input.write(b"hello\n").await.unwrap();
    let outcome = collect(&mut stream.output).await;
    assert_eq!(outcome.out(), "hello\r\n30 100\r\n/dev/pts/0\r\ngot hello\r\nc\r\n");
    assert_eq!(outcome.exit.code, 0);
    rig.runtime.remove(container.id()).await.unwrap();
}

#[tokio::test]
async fn exec_runs_beside_and_reports_its_own_end() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.spec(&["sleep", "100"]);
    let process = spec.process.clone();
    let container = rig.prepare(&mut spec).await.unwrap();
    container.start().await.unwrap();
    let exec = |id: &str, args: &[&str]| ExecSpec {
        id: id.into(),
        process: Process { args: args.iter().map(ToString::to_string).collect(), ..process.clone() },
        stdin: false,
    };
    let (pid, stream) = container
        .exec(exec("a", &["sh", "-c", "echo $$; cat /proc/1/comm; exit 7"]), Streams::OUTPUT)
        .await
        .unwrap();
    assert!(pid > 0);
    let outcome = collect(&mut stream.unwrap().output).await;
    assert!(outcome.out().ends_with("sleep\n"), "{outcome:?}");
    assert_eq!(outcome.exit.code, 7);
    assert_eq!(container.exec_state("a").await.unwrap().unwrap().code, 7);
    let error = container.exec(exec("b", &["nosuch"]), Streams::OUTPUT).await.unwrap_err();
    assert_eq!(start_error(error), (127, "exec: \"nosuch\": executable file not found in $PATH".into()));
    let mut terminal = exec("c", &["sh", "-c", "tty; stty size"]);
    terminal.process.tty = true;
    terminal.process.console_size = Some((10, 20));
    let (_, stream) = container.exec(terminal, Streams::OUTPUT).await.unwrap();
    assert_eq!(collect(&mut stream.unwrap().output).await.out(), "/dev/pts/0\r\n10 20\r\n");
    let (_, stream) = container.exec(exec("d", &["sleep", "50"]), Streams::OUTPUT).await.unwrap();
    container.signal(Some("d"), libc::SIGKILL).await.unwrap();
    assert_eq!(collect(&mut stream.unwrap().output).await.exit.code, 137);
    container.signal(None, libc::SIGKILL).await.unwrap();
    assert_eq!(container.wait().await.code, 137);
    rig.runtime.remove(container.id()).await.unwrap();
}

#[tokio::test]
async fn a_new_engine_takes_over_running_and_ended_containers() {
    let Some(rig) = rig() else { return };
    let mut running = rig.shell("trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done");
    let mut ending = rig.shell("sleep 0.2; exit 9");
    let mut waiting = rig.spec(&["true"]);
    for spec in [&mut running, &mut ending] {
        rig.prepare(spec).await.unwrap().start().await.unwrap();
    }
    rig.prepare(&mut waiting).await.unwrap();
    // The old engine's connections are all gone here; a new one looks around.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let second = new_runtime(rig.dir.path(), &rig.parent);
    assert_eq!(second.list().unwrap().len(), 3);
    let Adopted::Exited(exit) = second.adopt(&ending.id).await.unwrap() else { panic!("not ended") };
    assert_eq!(exit.code, 9);
    let Adopted::Prepared(prepared) = second.adopt(&waiting.id).await.unwrap() else {
        panic!("not prepared")
    };
    prepared.start().await.unwrap();
    assert_eq!(prepared.wait().await.code, 0);
    let Adopted::Running(container) = second.adopt(&running.id).await.unwrap() else { panic!("not running") };
    assert!(second.started(&running.id).unwrap().pid == container.pid());
    let mut stream = container.attach(Streams::OUTPUT).await.unwrap();
    container.signal(None, libc::SIGTERM).await.unwrap();
    assert_eq!(collect(&mut stream.output).await.out(), "bye\n");
    assert_eq!(container.wait().await.code, 5);
    for id in [&running.id, &ending.id, &waiting.id] {
        second.remove(id).await.unwrap();
    }
    assert!(second.list().unwrap().is_empty());
}

#[tokio::test]
async fn a_killed_shim_takes_its_container_along() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.spec(&["sleep", "100"]);
    let container = rig.prepare(&mut spec).await.unwrap();
    container.start().await.unwrap();
    let shim = rig.runtime.started(&spec.id).unwrap().shim_pid;
    engine_shim::sys::kill(shim, libc::SIGKILL).unwrap();
    let exit = tokio::time::timeout(Duration::from_secs(5), container.wait()).await.unwrap();
    assert_eq!((exit.code, exit.error.as_deref()), (137, Some("the container's shim was killed")));
    let deadline = Instant::now() + Duration::from_secs(5);
    while !container.pids().unwrap().is_empty() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rig.runtime.remove(&spec.id).await.unwrap();
}

#[tokio::test]
async fn init_reaps_passes_signals_on_and_ends_with_its_program() {
    let Some(rig) = rig() else { return };
    let script = "trap 'exit 4' TERM; (sleep 0.1 &); cat /proc/1/comm; echo $$; sleep 0.3; \
                  grep -c Z /proc/[0-9]*/stat | grep -v ':0' | wc -l; echo ready; while :; do sleep 0.01; done";
    let mut spec = rig.shell(script);
    spec.init = true;
    let container = rig.prepare(&mut spec).await.unwrap();
    let mut stream = container.attach(Streams::OUTPUT).await.unwrap();
    container.start().await.unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"ready\n") {
        let Chunk::Stdout(bytes) = stream.output.next().await.unwrap() else { panic!("ended early") };
        seen.extend(bytes);
    }
    let seen = String::from_utf8(seen).unwrap();
    assert!(seen.starts_with("docker-init\n2\n"), "{seen}");
    container.signal(None, libc::SIGTERM).await.unwrap();
    assert_eq!(container.wait().await.code, 4);
    rig.runtime.remove(&spec.id).await.unwrap();
    let mut spec = rig.spec(&["nosuch"]);
    spec.init = true;
    assert_eq!(start_error(rig.run(spec).await.unwrap_err()).0, 127);
}

#[tokio::test]
async fn two_clients_see_the_same_and_a_slow_one_holds_nothing_back_for_ever() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.shell("head -c 8000000 /dev/zero | tr '\\0' 'a'");
    let container = rig.prepare(&mut spec).await.unwrap();
    let mut first = container.attach(Streams::OUTPUT).await.unwrap();
    let mut second = container.attach(Streams::OUTPUT).await.unwrap();
    let never_read = container.attach(Streams::OUTPUT).await.unwrap();
    container.start().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(never_read);
    let (one, two) = tokio::join!(collect(&mut first.output), collect(&mut second.output));
    assert_eq!((one.stdout.len(), two.stdout.len()), (8_000_000, 8_000_000));
    rig.runtime.remove(container.id()).await.unwrap();
}

#[tokio::test]
async fn many_cycles_leave_nothing() {
    let Some(rig) = rig() else { return };
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    rig.run(rig.spec(&["true"])).await.unwrap();
    let before = (descriptors(), mounts());
    for _ in 0..60 {
        rig.run(rig.spec(&["true"])).await.unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    // Fewer is no leak: the first container may not have been done with when it was counted.
    while descriptors() > before.0 || mounts() > before.1 {
        assert!(Instant::now() < deadline, "{:?} {before:?}", (descriptors(), mounts()));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(rig.runtime.list().unwrap().is_empty());
}
