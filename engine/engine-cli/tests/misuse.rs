//! The program itself where no engine is needed: words and exit codes for wrong use, and help.

use std::process::Command;

/// What a line prints on stdout and stderr, and its exit code.
fn docker(line: &str) -> (String, String, Option<i32>) {
    let done = Command::new(env!("CARGO_BIN_EXE_engine-cli"))
        .args(line.split_whitespace())
        .env("DOCKER_HOST", "unix:///nonexistent")
        .output()
        .expect("the program was built");
    let [out, err] = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (out, err, done.status.code())
}

#[test]
fn wrong_use_ends_as_with_dockers_client() {
    for (line, said, code) in [
        ("nonsense", "docker: unknown command: docker nonsense\n", 1),
        ("rm", "docker: 'docker rm' requires at least 1 argument\n", 1),
        ("ps extra", "docker: 'docker ps' accepts no arguments\n", 1),
        ("ps --nope", "unknown flag: --nope\n", 125),
        ("run -p x busybox", "docker: invalid containerPort: x\n", 125),
        (
            "stop -t x c",
            "invalid argument \"x\" for \"-t, --timeout\" flag: strconv.ParseInt: parsing \"x\"",
            125,
        ),
        ("ps --format {{.Foo", "failed to parse template: template: :1: ", 1),
        ("load -i /nonexistent", "open /nonexistent: no such file or directory\n", 1),
        ("run --rm --restart always busybox", "docker: conflicting options: ", 125),
        ("ps", "Cannot connect to the Docker daemon at unix:///nonexistent. ", 1),
        ("run busybox", "docker: Cannot connect to the Docker daemon at unix:///nonexistent. ", 125),
        ("-H tcp://x ps", "this client speaks to unix:// sockets only", 1),
    ] {
        let (out, err, ended) = docker(line);
        assert!(err.starts_with(said), "{line}: {err}");
        assert_eq!((out.as_str(), ended), ("", Some(code)), "{line}");
    }
}

#[test]
fn help_is_no_failure() {
    for (line, shows) in [
        ("--help", "Commands:"),
        ("ps --help", "Usage:  docker ps [OPTIONS]"),
        ("network create --help", "Usage:  docker network create [OPTIONS] NETWORK"),
        ("--version", "docker "),
    ] {
        let (out, err, code) = docker(line);
        assert!(out.contains(shows) && err.is_empty(), "{line}: {out}{err}");
        assert_eq!(code, Some(0), "{line}");
    }
    let (_, err, code) = docker("network");
    assert!(err.contains("connect") && code == Some(0), "{err}");
}
