//! One case: units, and a script of what to do with them and what to look at.
//!
//! ```text
//! == unit a.service
//! [Service]
//! ExecStart=@SAY@ hello
//! == run
//! start a.service
//! state a.service
//! log
//! ```
//!
//! `@D@` is a folder of the case, the same for both supervisors; `@SAY@` a program there that
//! appends its arguments to the log. Script lines: `start stop restart reload try-restart
//! reload-or-restart reset-failed kill` and their like go to systemctl and show its exit code;
//! `state UNIT…`, `exit UNIT`, `restarts UNIT`, `log`, `wait UNIT SUB`, `sleep MS`, `touch`, `rm`, `write`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::world::World;

pub(crate) struct Case {
    pub(crate) name: String,
    units: Vec<(String, String)>,
    script: Vec<String>,
}

impl Case {
    pub(crate) fn all() -> Vec<Self> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cases");
        let mut found: Vec<_> = fs::read_dir(dir)
            .expect("the folder of cases")
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "case"))
            .map(|entry| Self::parse(&entry.path()))
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    fn parse(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("a case is readable");
        let name = path.file_stem().expect("has a name").to_string_lossy().into_owned();
        let mut case = Self { name, units: Vec::new(), script: Vec::new() };
        let mut in_script = false;
        for line in text.lines() {
            if let Some(unit) = line.strip_prefix("== unit ") {
                case.units.push((unit.to_owned(), String::new()));
            } else if line == "== run" {
                in_script = true;
            } else if in_script {
                if !line.trim().is_empty() && !line.starts_with('#') {
                    case.script.push(line.to_owned());
                }
            } else if let Some((_, text)) = case.units.last_mut() {
                text.push_str(line);
                text.push('\n');
            }
        }
        case
    }

    pub(crate) fn unit_count(&self) -> usize {
        self.units.len()
    }

    fn dir(&self) -> PathBuf {
        PathBuf::from("/tmp/units-cases").join(&self.name)
    }

    fn fill_in(&self, text: &str) -> String {
        let dir = self.dir().display().to_string();
        text.replace("@SAY@", &format!("{dir}/say")).replace("@D@", &dir)
    }

    /// Plays the script; returns what was seen, a line each.
    pub(crate) fn play(&self, world: &World) -> Vec<String> {
        let dir = self.dir();
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a folder for the case");
        let say = format!("#!/bin/sh\necho \"$@\" >> {}/log\n", dir.display());
        fs::write(dir.join("say"), say).expect("write");
        fs::set_permissions(dir.join("say"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("chmod");
        for (name, text) in &self.units {
            let path = world.units.join(name);
            fs::create_dir_all(path.parent().expect("has one")).expect("a folder for units");
            fs::write(path, self.fill_in(text)).expect("write");
        }
        world.systemctl(&["daemon-reload"]);
        let mut seen = Vec::new();
        for line in &self.script {
            self.step(world, &self.fill_in(line), &mut seen);
        }
        self.clean(world);
        seen
    }

    fn clean(&self, world: &World) {
        let names: Vec<&str> =
            self.units.iter().map(|(name, _)| name.as_str()).filter(|name| !name.contains('/')).collect();
        for name in &names {
            world.systemctl(&["kill", "-s", "KILL", name]);
            world.systemctl(&["stop", name]);
        }
        for (name, _) in &self.units {
            let _ = fs::remove_file(world.units.join(name));
        }
        for name in names {
            world.systemctl(&["reset-failed", name]);
        }
        world.systemctl(&["daemon-reload"]);
        let _ = fs::remove_dir_all(self.dir());
    }

    fn step(&self, world: &World, line: &str, seen: &mut Vec<String>) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let path = |index: usize| PathBuf::from(words[index]);
        match words[0] {
            "state" => {
                for unit in &words[1..] {
                    let properties = ["LoadState", "ActiveState", "SubState", "Result"]
                        .map(|key| world.property(unit, key));
                    seen.push(format!("{unit} {}", properties.join(" ")));
                }
            }
            "exit" => {
                let properties = ["ExecMainCode", "ExecMainStatus"].map(|key| world.property(words[1], key));
                seen.push(format!("{} exit {}", words[1], properties.join(" ")));
            }
            "restarts" => {
                seen.push(format!("{} restarts {}", words[1], world.property(words[1], "NRestarts")))
            }
            "get" => seen.push(format!("{} {}={}", words[1], words[2], world.property(words[1], words[2]))),
            "log" => {
                let log = fs::read_to_string(self.dir().join("log")).unwrap_or_default();
                seen.extend(log.lines().map(|line| format!("log {line}")));
                let _ = fs::write(self.dir().join("log"), "");
            }
            "wait" => seen.push(wait(world, words[1], words[2])),
            "sleep" => std::thread::sleep(Duration::from_millis(words[1].parse().expect("milliseconds"))),
            "touch" => fs::write(path(1), "").expect("touch"),
            "write" => fs::write(path(1), words[2..].join(" ")).expect("write"),
            "rm" => drop(fs::remove_file(path(1))),
            _ => {
                let (code, _) = world.systemctl(&words);
                seen.push(format!("{line} -> {code}").replace(&self.dir().display().to_string(), "@D@"));
            }
        }
    }
}

fn wait(world: &World, unit: &str, wanted: &str) -> String {
    let start = Instant::now();
    loop {
        let sub = world.property(unit, "SubState");
        if sub == wanted {
            return format!("{unit} reached {wanted}");
        }
        if start.elapsed() > Duration::from_secs(8) {
            return format!("{unit} never reached {wanted}, it is {sub}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
