//! Shells that read commands: from a pipe, as bash does, and at a terminal, key by key.
#![allow(unsafe_code, reason = "a controlling terminal is taken by ioctl in the child")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

/// What is piped into a shell.
const SCRIPTS: &[&str] = &[
    "for i in 1 2\ndo\n  echo $i\ndone\necho end\n",
    "if true; then\necho yes\nfi\nexit 4\necho no\n",
    "cat <<END\none\n$HOME\nEND\necho \"two\nlines\"\n",
    "echo a \\\n b\nf() {\necho f $1\n}\nf x | cat",
    "head -n 1\nfrom input\necho rest\n",
    "false\necho $?; (exit 3)\n",
    "trap 'echo bye' EXIT\nsleep 0.1 & wait $!\necho $?\n",
    "echo $0 $# $1\nset -e\nfalse\necho no\n",
    "case x in\nx) echo x;;\nesac\n\n\n# a comment\necho last",
    "if then\necho goes on\n",
];

fn shell(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg0("bash").args(args).env_clear().envs([
        ("PATH", "/usr/bin:/bin"),
        ("HOME", "/nowhere"),
        ("LC_ALL", "C"),
        ("TERM", "vt220"),
    ]);
    command
}

fn piped(program: &str, args: &[&str], script: &str) -> (Option<i32>, String) {
    let mut child = shell(program, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the shell starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let _ = stdin.write_all(script.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it is our child");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn commands_from_a_pipe_are_read_one_by_one() {
    for script in SCRIPTS {
        for args in [&[][..], &["-s", "one", "two"]] {
            let ours = piped(env!("CARGO_BIN_EXE_hostbox"), args, script);
            assert_eq!(ours, piped("/bin/bash", args, script), "{script}");
        }
    }
}

/// A shell at a terminal.
struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    fn start() -> Self {
        let size = Winsize { ws_row: 24, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).expect("a terminal");
        let slave = File::from(pair.slave);
        let copy = || Stdio::from(slave.try_clone().expect("a descriptor"));
        let mut command = shell(env!("CARGO_BIN_EXE_hostbox"), &["--norc", "-i"]);
        command.env("PS1", "> ").stdin(copy()).stdout(copy()).stderr(copy());
        // SAFETY: only system calls are made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                if libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().expect("the shell starts");
        let keys = File::from(pair.master);
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut output, shown) = (keys.try_clone().expect("a descriptor"), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = output.read(&mut bytes) {
                if count == 0 {
                    break;
                }
                shown.lock().expect("no panic").push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { child, keys, screen }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Waits for a line of output, which ends in CR and LF.
    fn shows(&self, line: &str) {
        let began = Instant::now();
        loop {
            let screen = self.screen.lock().expect("no panic").clone();
            if screen.split("\r\n").any(|shown| shown == line || shown.ends_with(&format!("\n{line}"))) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "no `{line}` in:\n{screen:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_terminal_edits_remembers_and_completes() {
    let mut terminal = Terminal::start();
    terminal.press("echo in$((40+2))side\r");
    terminal.shows("in42side");
    // Up, to the start, and something before it.
    terminal.press("\x1b[A\x1b[H\x1b[3~E=x; e\r");
    terminal.press("echo second-$E\r");
    terminal.shows("second-x");
    terminal.press("\x12in$\r");
    terminal.press("echo wro\x17ri\x7fight\x1b[D\x1b[D\x05-end\r");
    terminal.shows("right-end");
    // Completion: a program, then a file.
    terminal.press("printf '%s\\n' /etc/passw\t\r");
    terminal.shows("/etc/passwd");
    // More than one line, and more than the terminal is wide.
    terminal.press("for i in 1 2; do\recho lo$i\rdone\r");
    terminal.shows("lo2");
    terminal.press(&format!("echo {} | tr -d x\r", "x".repeat(200)));
    // Control-C: at the prompt and in a program.
    terminal.press("nonsense\x03sleep 60\r");
    std::thread::sleep(Duration::from_millis(500));
    terminal.press("\x03");
    terminal.press("echo code $?\r");
    terminal.shows("code 130");
    terminal.press("stty size\r");
    terminal.shows("24 60");
    // A process in the background; then the end of input.
    terminal.press("sleep 0.1 & wait $!; echo waited $?\r");
    terminal.shows("waited 0");
    terminal.press("(exit 5)\r\x04");
    let began = Instant::now();
    while terminal.child.try_wait().expect("it is our child").is_none() {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(terminal.child.wait().expect("it is our child").code(), Some(5));
}
