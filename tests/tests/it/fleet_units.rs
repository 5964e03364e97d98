//! Units in the style of those that people gave to fleet: shell wrappers, `docker pull`, `run` and
//! `stop`, sidekicks, environment files, timers, restart policies.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use system_tests::{Config, Registry, Workstation, eventually};

#[test]
fn units_as_people_gave_them_to_fleet_run_as_they_are() -> Result<()> {
    let (here, registry) = (Workstation::new()?, Registry::start()?);
    let image = format!("{}/app", registry.from_machine());
    let config = here.store().join("units.ign");
    std::fs::write(&config, units(&image)?.enable("kv.service").text())?;
    let address = registry.from_machine();
    here.rmachine(&[
        "create",
        "-d",
        "qemu",
        "--engine-insecure-registry",
        &address,
        "--ignition",
        &config.to_string_lossy(),
        "worker1",
    ])?;
    registry.fill(&here, "worker1", "app")?;
    let there = |command: &str| here.as_root("worker1", command);
    there("systemctl start fleet-like.target")?;
    every_unit_gets_where_it_should(&there)?;
    they_did_their_work(&there)?;
    those_that_belong_together_stop_together(&there)
}

/// The files of `units/` in this crate; `states` is what is expected of them.
fn units(image: &str) -> Result<Config> {
    let mut config = Config::default();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("units"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.contains('.') {
            config = config.unit(&name, &std::fs::read_to_string(&path)?.replace("@IMAGE@", image));
        }
    }
    Ok(config)
}

fn every_unit_gets_where_it_should(there: &dyn Fn(&str) -> Result<String>) -> Result<()> {
    let expected: BTreeMap<&str, String> = include_str!("../../units/states")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(unit, state)| (unit, state.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect();
    let names: Vec<&str> = expected.keys().copied().collect();
    let show = format!("systemctl show -p Id -p ActiveState -p SubState {}", names.join(" "));
    let mut wrong = Vec::new();
    let settled = eventually("all units are as expected", Duration::from_secs(240), || {
        let Ok(shown) = there(&show) else { return false };
        let found: BTreeMap<&str, String> = shown.split("\n\n").filter_map(state).collect();
        let differs = |(unit, state): &(&&str, &String)| found.get(**unit) != Some(*state);
        let line = |(unit, state): (&&str, &String)| {
            format!("{unit} is {}, not {state}", found.get(unit).map_or("gone", String::as_str))
        };
        wrong = expected.iter().filter(differs).map(line).collect();
        wrong.is_empty()
    });
    settled.with_context(|| wrong.join("\n"))
}

/// `Id=`, `ActiveState=` and `SubState=` of one unit.
fn state(block: &str) -> Option<(&str, String)> {
    let value = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    Some((value("Id")?, format!("{} {}", value("ActiveState")?, value("SubState")?)))
}

fn they_did_their_work(there: &dyn Fn(&str) -> Result<String>) -> Result<()> {
    ensure!(there("cat /run/client.answer")? == "kept\n");
    ensure!(there("cat /run/prepared")? == "hello there, world and hello\n");
    let announced = there("cat /run/announced")?;
    let words: Vec<&str> = announced.split_whitespace().collect();
    ensure!(words.len() == 3 && words[1].len() == 32, "{announced}");
    ensure!(words[0] == "worker1" && words[2] == "worker1", "{announced}");
    ensure!(there("wc -l < /run/flaky.tries")?.trim() == "3");
    ensure!(there("systemctl show -p NRestarts --value hopeless.service")?.trim() == "3");
    for file in ["/run/eternal.runs", "/run/backup.times"] {
        let count = |text: String| text.trim().parse::<u32>().unwrap_or(0);
        let before = count(there(&format!("wc -l < {file}"))?);
        eventually(&format!("{file} grows"), Duration::from_secs(20), || {
            there(&format!("wc -l < {file}")).is_ok_and(|text| count(text) > before)
        })?;
    }
    // A sidekick that is sooner than its container announces no port at first.
    let mut found = String::new();
    eventually("the sidekicks announce what they see", Duration::from_secs(30), || {
        found = there("etcdctl get --prefix /services/").unwrap_or_default();
        found.contains("/services/app\n10.0.2.15:8080")
            && found.contains("\"host\": \"worker1\", \"port\": 10002")
    })
    .with_context(|| found.clone())?;
    ensure!(there("docker exec app wget -qO- http://127.0.0.1/")?.contains("I am 10.0.2.15"));
    Ok(())
}

fn those_that_belong_together_stop_together(there: &dyn Fn(&str) -> Result<String>) -> Result<()> {
    there("systemctl stop app.service web@1.service; systemctl start successor.service")?;
    let units = "app-sidekick.service web-discovery@1.service legacy.service";
    let shown = there(&format!("systemctl show -p ActiveState --value {units}"))?;
    ensure!(shown == "inactive\n".repeat(3), "{shown}");
    let listed = there("docker ps")?;
    let runs = |name: &str| listed.lines().any(|line| line.ends_with(name));
    ensure!(runs(" store") && runs(" web-2") && !runs(" app") && !runs(" web-1"), "{listed}");
    eventually("their announcements are gone", Duration::from_secs(30), || {
        there("etcdctl get --prefix --keys-only /services/")
            .is_ok_and(|keys| keys.trim() == "/services/web/2")
    })
}
