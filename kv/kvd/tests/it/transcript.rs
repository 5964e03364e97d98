//! etcdctl's commands, as its users type them, of its 3.4 and of its 3.5.
//!
//! A line is etcdctl's arguments. `<<<` gives it standard input (`\n` separates lines). `|||` lets it run while the
//! commands after it (separated by `;`) are run, and then interrupts it: watches, locks, elections.

use std::{
    io::Write as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    golden::{Block, command, judge, lines, normalise},
    process::{Member, Place, etcdctl, has, serves},
};

const COMMANDS: &str = include_str!("commands.txt");

struct Session<'s> {
    program: &'s str,
    member: Member,
    place: Place,
    dir: tempfile::TempDir,
    lease: String,
}

impl Session<'_> {
    /// Starts etcdctl with a line's arguments and standard input.
    fn start(&self, line: &str) -> Child {
        let (arguments, input) = line.split_once(" <<< ").unwrap_or((line, ""));
        let scratch = self.dir.path().to_string_lossy().into_owned();
        let arguments = arguments
            .replace("LEASE", &self.lease)
            .replace("MEMBER", &member_id(&self.member.client))
            .replace("SCRATCH", &scratch)
            .replace("CLIENT", &self.member.client);
        let mut child = Command::new(self.program)
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.member.client, "--command-timeout", "10s"])
            .args(split(&arguments))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("etcdctl starts");
        let mut stdin = child.stdin.take().expect("piped");
        let _ = stdin.write_all(input.replace("\\n", "\n").as_bytes());
        if line.contains("watch -i") {
            // It would end with its input.
            std::mem::forget(stdin);
        }
        child
    }

    fn finish(&mut self, line: &str, mut child: Child) -> String {
        // A command that hangs is an answer too, and must not hold up the rest.
        let deadline = Instant::now() + Duration::from_secs(30);
        while child.try_wait().is_ok_and(|status| status.is_none()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let output = child.wait_with_output().expect("etcdctl ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if line.starts_with("lease grant")
            && let Some(id) = text.strip_prefix("lease ")
        {
            self.lease = id.split(' ').next().unwrap_or("0").to_owned();
        }
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let errors: Vec<&str> = errors.lines().filter(|line| line.starts_with("Error")).collect();
        let text = text.replace(&*self.dir.path().to_string_lossy(), "SCRATCH");
        let shown = normalise(&format!("{text}{}", errors.join("\n")), &self.place);
        let code = output.status.code().map_or("interrupted".to_owned(), |code| format!("exit {code}"));
        format!("{shown}\n[{code}]")
    }

    fn one(&mut self, line: &str) -> String {
        let Some((long, meanwhile)) = line.split_once(" |||") else {
            let child = self.start(line);
            return self.finish(line, child);
        };
        let child = self.start(long);
        std::thread::sleep(Duration::from_millis(700));
        for short in meanwhile.split(" ; ").map(str::trim).filter(|short| !short.is_empty()) {
            let child = self.start(short);
            let _ = self.finish(short, child);
        }
        std::thread::sleep(Duration::from_millis(500));
        interrupt(&child);
        let mut answer = self.finish(long, child);
        // How it ends when told to is its own business.
        answer.truncate(answer.rfind("\n[").unwrap_or(answer.len()));
        answer
    }
}

fn interrupt(child: &Child) {
    let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    std::thread::sleep(Duration::from_millis(200));
    let _ = Command::new("kill").args(["-KILL", &child.id().to_string()]).stderr(Stdio::null()).status();
}

fn run_all(program: &str, server: &str) -> Vec<Block> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let place = Place::new("one", dir.path());
    let member = Member::start(server, &place, &["--initial-cluster", &format!("one={}", place.peer)]);
    serves(&member.client);
    let mut session = Session { program, member, place, dir, lease: "0".to_owned() };
    lines(COMMANDS).map(|line| Block { line: line.to_owned(), answer: session.one(command(line)) }).collect()
}

fn member_id(endpoint: &str) -> String {
    let output = etcdctl(endpoint, &["member", "list"], "");
    String::from_utf8_lossy(&output.stdout).split(',').next().unwrap_or_default().to_owned()
}

fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for letter in line.chars() {
        match letter {
            '\'' => (quoted, any) = (!quoted, true),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            letter => word.push(letter),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}

#[test]
fn etcdctl_sees_no_difference() {
    if has("etcdctl") {
        judge("transcript.txt", "etcd", 150, |server| run_all("etcdctl", server));
    }
}

/// The 3.5 programs are not Debian's: they are looked for as `etcd-3.5` and `etcdctl-3.5`.
#[test]
fn etcdctl_of_3_5_sees_no_difference() {
    if has("etcdctl-3.5") && has("etcdctl") {
        judge("transcript-3.5.txt", "etcd-3.5", 150, |server| run_all("etcdctl-3.5", server));
    }
}
