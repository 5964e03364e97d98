//! The json-file log of real containers.

use std::path::Path;

use engine_runtime::spec::Log;

use crate::rig::{Rig, rig};

fn log_to(rig: &Rig, max_size: u64, max_file: u32) -> Log {
    Log::JsonFile { path: rig.path("c-json.log"), max_size, max_file, attrs: Default::default() }
}

fn texts(path: &Path) -> Vec<(String, String)> {
    let parse = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        (value["stream"].as_str().unwrap().to_owned(), value["log"].as_str().unwrap().to_owned())
    };
    std::fs::read_to_string(path).unwrap().lines().map(parse).collect()
}

#[tokio::test]
async fn every_line_is_logged_though_nobody_attached() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.shell("seq 1 50000; echo err >&2; printf unfinished");
    spec.log = log_to(&rig, 0, 1);
    let container = rig.prepare(&mut spec).await.unwrap();
    container.start().await.unwrap();
    container.wait().await;
    rig.runtime.remove(container.id()).await.unwrap();
    let lines = texts(&rig.path("c-json.log"));
    assert_eq!(lines.len(), 50_002);
    let out: Vec<&str> = lines.iter().filter(|(s, _)| s == "stdout").map(|(_, text)| text.as_str()).collect();
    assert!(out[..50_000].iter().enumerate().all(|(n, text)| *text == format!("{}\n", n + 1)));
    assert_eq!(out[50_000], "unfinished");
}

#[tokio::test]
async fn a_terminals_output_is_logged_as_stdout() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.shell("echo one; echo two >&2");
    spec.process.tty = true;
    spec.log = log_to(&rig, 0, 1);
    rig.run(spec).await.unwrap();
    let lines = texts(&rig.path("c-json.log"));
    assert_eq!(lines, [("stdout".into(), "one\r\n".into()), ("stdout".into(), "two\r\n".into())]);
}

#[tokio::test]
async fn a_log_moved_away_goes_on_in_a_new_file() {
    let Some(rig) = rig() else { return };
    let mut spec = rig.shell("echo one; sleep 0.3; echo two");
    spec.log = log_to(&rig, 0, 1);
    let container = rig.prepare(&mut spec).await.unwrap();
    container.start().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    std::fs::rename(rig.path("c-json.log"), rig.path("old")).unwrap();
    container.reopen_log().await.unwrap();
    container.wait().await;
    rig.runtime.remove(container.id()).await.unwrap();
    assert_eq!(texts(&rig.path("old"))[0].1, "one\n");
    assert_eq!(texts(&rig.path("c-json.log"))[0].1, "two\n");
}
