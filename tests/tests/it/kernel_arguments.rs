//! Kernel arguments that a config wants: one restart at most, and a clear word where it brings nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use system_tests::{Plain, Workstation, eventually};

const WANTED: &str = "rmachine.test=1";

fn wanted() -> serde_json::Value {
    json!({ "shouldExist": [WANTED] })
}

#[test]
fn a_machine_starts_again_once_with_the_arguments_that_its_config_wants() -> Result<()> {
    let here = Workstation::new()?;
    let file = here.store().join("arguments.ign");
    let config = json!({ "ignition": { "version": "3.3.0" }, "kernelArguments": wanted() });
    std::fs::write(&file, config.to_string())?;
    here.rmachine(&["create", "--ignition", &file.to_string_lossy(), "worker1"])?;
    let line = || here.rmachine(&["ssh", "worker1", "cat /proc/cmdline"]);
    ensure!(line()?.contains(WANTED), "{}", line()?);
    let stages = here.rmachine(&["logs", "--log", "stages", "worker1"])?;
    let restarts = stages.lines().filter(|line| line.contains(r#""type":"restart""#)).count();
    ensure!(restarts <= 1, "{stages}");
    here.rmachine(&["restart", "worker1"])?;
    ensure!(line()?.contains(WANTED), "after a restart: {}", line()?);
    Ok(())
}

#[test]
fn where_nobody_listens_the_second_boot_says_what_to_do_and_the_third_remembers() -> Result<()> {
    let machine = Plain::new()?.disk(128)?;
    let config = machine.open_config()?.set("", "kernelArguments", wanted()).text();
    let machine = machine.config(&config)?;
    let mut running = machine.start()?;
    running.ended(Duration::from_secs(120))?;
    let asked = running.report("restart").unwrap_or_default();
    ensure!(asked["should_exist"] == json!([WANTED]), "{asked}");

    running = machine.start()?;
    let sentence = running.failure()?;
    let reason = "the config wants other kernelArguments than this kernel runs with";
    ensure!(sentence.starts_with(reason), "{sentence}");
    let console = running.console();
    let hint = console.lines().find(|line| line.contains("hint: start the machine with `"));
    ensure!(hint.is_some_and(|hint| hint.contains(WANTED)), "{console}");
    ensure!(!console.contains("here is a shell"), "nobody asked for a shell: {console}");

    drop(running);
    let machine = machine.argument("rmachine.recovery=1");
    let mut running = machine.start()?;
    let shows = |what: &str, running: &system_tests::Running<'_>| {
        eventually(what, Duration::from_secs(120), || running.console().contains(what))
    };
    shows("here is a shell", &running)?;
    shows("# ", &running)?;
    running.type_in("echo inside-$((40+2)); cat /var/lib/hostos/last-failure\r")?;
    shows("inside-42", &running)?;
    running.type_in("exit\r")?;
    running.ended(Duration::from_secs(60))?;

    drop(running);
    let machine = machine.argument(WANTED);
    let mut running = machine.start()?;
    running.reached("ready")?;
    let remembered = format!("the boot before this one failed: {reason}");
    ensure!(running.console().contains(&remembered), "{}", running.console());
    ensure!(running.ssh("cat /proc/cmdline")?.contains(WANTED));
    Ok(())
}
