//! Every command as a script types it: the words, what comes out on both streams, the exit code.
//!
//! A script in `golden/` is a line `$ VARIABLE=… rmachine …` (a whole shell line, so pipes work) and
//! below it what that prints. Lines from stderr begin with `! `, an exit code other than 0 stands last
//! as `[N]`. The store's folder shows as STORE, a time as TIME, an empty line as `~`; `## ` begins a
//! comment. `UPDATE_GOLDEN=1` writes down what comes out; read the
//! difference before you commit it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn commands_print_what_the_scripts_say() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(&dir).expect("scripts") {
        let path = entry.expect("a script").path();
        let script = std::fs::read_to_string(&path).expect("a script");
        let played = play(&script);
        if played == script {
            continue;
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &played).expect("written");
        }
        wrong.push(format!("{}:\n{}", path.display(), difference(&script, &played)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The script with what its commands really print.
fn play(script: &str) -> String {
    let store = tempfile::tempdir().expect("a folder");
    let mut out = String::new();
    for line in script.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => {
                let _ = writeln!(out, "$ {command}");
                run(store.path(), command, &mut out);
            }
            // Comments stay; old output is replaced.
            None if line.starts_with("## ") => {
                let _ = writeln!(out, "{line}\n");
            }
            None => {}
        }
    }
    out
}

fn run(store: &Path, line: &str, out: &mut String) {
    let program = Path::new(env!("CARGO_BIN_EXE_rmachine"));
    let path = format!(
        "{}:{}",
        program.parent().expect("its folder").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new("sh")
        .args(["-c", line])
        .env_clear()
        .envs([("PATH", path.as_str()), ("USER", "ada"), ("HOME", "/nonexistent")])
        .env("MACHINE_STORAGE_PATH", store)
        .current_dir(store)
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).replace(&*store.to_string_lossy(), "STORE");
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for line in text(&output.stdout) {
        // An empty line would end the output of this command in the script.
        let _ = writeln!(out, "{}", if line.is_empty() { "~" } else { line.as_str() });
    }
    for line in text(&output.stderr) {
        let _ = writeln!(out, "{}", format!("! {}", without_time(&line)).trim_end());
    }
    match output.status.code() {
        Some(0) => {}
        code => {
            let _ = writeln!(out, "[{}]", code.unwrap_or(-1));
        }
    }
}

/// `(m1)   0.02 s  ready` without how long it took.
fn without_time(line: &str) -> String {
    let parts = line.strip_prefix('(').and_then(|rest| rest.split_once(") "));
    let parts = parts.and_then(|(name, rest)| Some((name, rest.split_once(" s  ")?)));
    match parts {
        Some((name, (time, text))) if time.trim().parse::<f64>().is_ok() => format!("({name}) TIME  {text}"),
        _ => line.to_owned(),
    }
}

/// The first lines that are not as they should be.
fn difference(wanted: &str, found: &str) -> String {
    let (wanted, found): (Vec<_>, Vec<_>) = (wanted.lines().collect(), found.lines().collect());
    let at = wanted.iter().zip(&found).position(|(a, b)| a != b).unwrap_or(wanted.len().min(found.len()));
    let show = |lines: &[&str], mark: &str| {
        let from = at.saturating_sub(3).min(lines.len());
        let lines = lines[from..].iter().take(12).map(|line| format!("{mark} {line}\n"));
        lines.collect::<String>()
    };
    format!("line {}:\n{}{}", at + 1, show(&wanted, "-"), show(&found, "+"))
}
