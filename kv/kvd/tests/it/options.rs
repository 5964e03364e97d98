//! Command lines that make no sense: ours must say to them what etcd says.

use std::process::{Command, Stdio};

use crate::{
    golden::{Block, command, judge, lines},
    process::has,
};

/// The first sentence, without where and when etcd's logger says it was said.
fn first_sentence(text: &str) -> String {
    let line =
        text.lines().find(|line| !line.starts_with("[WARNING]") && !line.contains(" I | ")).unwrap_or("");
    line.split_once("etcdmain: ").map_or(line, |(_, said)| said).to_owned()
}

fn run_all(program: &str) -> Vec<Block> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let one = |line: &str| {
        let mut child = Command::new(program)
            .args(command(line).split(' '))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while child.try_wait().is_ok_and(|status| status.is_none()) && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = child.kill();
        let output = child.wait_with_output().expect("it ends");
        let code = output.status.code().map_or("goes on".to_owned(), |code| format!("exit {code}"));
        format!("{}\n[{code}]", first_sentence(&String::from_utf8_lossy(&output.stderr)))
    };
    lines(include_str!("options.txt"))
        .map(|line| Block { line: line.to_owned(), answer: one(line) })
        .collect()
}

#[test]
fn mistakes_are_told_in_etcds_words() {
    if has("etcdctl") {
        judge("options-answers.txt", "etcd", 20, run_all);
    }
}
