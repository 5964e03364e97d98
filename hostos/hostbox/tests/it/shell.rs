//! Shell idioms of real units and of CoreOS' own scripts, under our shell and under bash: the same words on
//! standard output and the same end. The tools around are this workstation's, so only the shells differ.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One command text a line; `\n` stands for a new line in those with here-documents.
const IDIOMS: &str = include_str!("idioms.txt");

const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq, Eq)]
struct Run {
    code: Option<i32>,
    signal: Option<i32>,
    stdout: String,
}

fn run(mut shell: Command, text: &str) -> Run {
    let place = tempfile::tempdir().expect("a folder");
    let out = std::fs::File::create(place.path().join(".out")).expect("a file");
    let mut child = shell
        .args(["-c", text])
        .env_clear()
        .envs([("PATH", "/usr/bin:/bin"), ("HOME", "/"), ("LC_ALL", "C")])
        .env("T", place.path())
        .current_dir(place.path())
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::null())
        .spawn()
        .expect("the shell starts");
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status;
        }
        if began.elapsed() > LIMIT {
            let _ = child.kill();
            break child.wait().expect("it is our child");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let stdout = std::fs::read_to_string(place.path().join(".out")).unwrap_or_default();
    let stdout = stdout.replace(&place.path().display().to_string(), "$T");
    Run { code: status.code(), signal: status.signal(), stdout }
}

#[test]
fn idioms_of_units_mean_what_they_mean_in_bash() {
    let mut differ = Vec::new();
    for line in IDIOMS.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let text = if line.contains("\\nEND") { line.replace("\\n", "\n") } else { line.to_owned() };
        let mut ours = Command::new(env!("CARGO_BIN_EXE_hostbox"));
        std::os::unix::process::CommandExt::arg0(&mut ours, "bash");
        let (ours, theirs) = (run(ours, &text), run(Command::new("/bin/bash"), &text));
        if ours != theirs {
            differ.push(format!("{line}\n  ours   {ours:?}\n  theirs {theirs:?}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
