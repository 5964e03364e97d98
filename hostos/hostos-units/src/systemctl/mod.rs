//! The `systemctl` applet: systemd's verbs, outputs and exit codes over the supervisor's socket.
//!
//! Exit codes of `is-active` and `status`: 0 active, 3 not, 4 no such unit; of `is-enabled`: 0 or 1.

mod changes;
mod lists;
mod states;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use units_api::{Client, ClientError, Method};

use crate::arguments::{Argument, split};

/// What the command line says.
#[derive(Debug, Default)]
struct Call {
    verb: String,
    units: Vec<String>,
    socket: PathBuf,
    quiet: bool,
    no_block: bool,
    now: bool,
    runtime: bool,
    all: bool,
    no_legend: bool,
    plain: bool,
    value_only: bool,
    lines: Option<usize>,
    properties: Vec<String>,
    types: Vec<String>,
    states: Vec<String>,
    signal: i32,
    whom: String,
    mode: units_api::JobMode,
    journal: PathBuf,
    json: bool,
}

const TAKE_VALUE: [&str; 18] = [
    "-t",
    "--type",
    "--state",
    "-p",
    "--property",
    "-P",
    "-n",
    "--lines",
    "-s",
    "--signal",
    "--kill-whom",
    "--kill-who",
    "-o",
    "--output",
    "--socket",
    "--job-mode",
    "--root",
    "-M",
];

const HELP: &str = "\
systemctl VERB [UNIT...]

  start stop restart try-restart reload reload-or-restart isolate kill UNIT...
  status is-active is-failed is-enabled show cat list-dependencies [UNIT...]
  enable disable mask unmask reenable preset UNIT...
  list-units list-unit-files list-timers list-jobs list-sockets
  daemon-reload reset-failed is-system-running show-environment
  set-environment unset-environment poweroff reboot halt

  -q --quiet  --no-block  --now  --runtime  -a --all  --no-legend  --no-pager
  -p --property=NAME  --value  -n --lines=N  -t --type=KIND  --state=STATE  --failed
  -s --signal=SIGNAL  -o --output=json
";

/// Runs the applet; `args[0]` is the program's name (`reboot` and its like are verbs by themselves).
#[must_use]
pub fn systemctl(args: &[OsString]) -> ExitCode {
    let program =
        args.first().map(|arg| arg.to_string_lossy().rsplit('/').next().unwrap_or_default().to_owned());
    let call = match parse(args.get(1..).unwrap_or_default()) {
        Ok(Some(call)) => call,
        Ok(None) => {
            out(HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            err(&format!("systemctl: {message}"));
            return ExitCode::FAILURE;
        }
    };
    let verb = match program.as_deref() {
        Some(name @ ("poweroff" | "reboot" | "halt")) => name.to_owned(),
        _ => call.verb.clone(),
    };
    match call.run(&verb) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            err(&call.explain(&verb, &error));
            ExitCode::from(match &error {
                ClientError::Refused(error)
                    if error.kind == units_api::ErrorKind::NotFound && verb != "enable" =>
                {
                    5
                }
                _ => 1,
            })
        }
    }
}

fn parse(args: &[OsString]) -> Result<Option<Call>, String> {
    let mut call = Call {
        socket: std::env::var_os("UNITS_SOCKET").map_or_else(|| units_api::SOCKET.into(), PathBuf::from),
        journal: crate::journalctl::default_dir(),
        signal: 15,
        whom: "all".into(),
        ..Call::default()
    };
    let list = |value: Option<String>| -> Vec<String> {
        value.unwrap_or_default().split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    for argument in split(args, &TAKE_VALUE)? {
        match argument {
            Argument::Word(word) if call.verb.is_empty() => call.verb = word,
            Argument::Word(word) => call.units.push(word),
            Argument::Option(name, value) => match name.as_str() {
                "-h" | "--help" => return Ok(None),
                "--version" => call.verb = "version".into(),
                "-q" | "--quiet" => call.quiet = true,
                "--no-block" => call.no_block = true,
                "--now" => call.now = true,
                "--runtime" => call.runtime = true,
                "-a" | "--all" => call.all = true,
                "--no-legend" => call.no_legend = true,
                "--legend" => call.no_legend = value.as_deref() == Some("false"),
                "--plain" => call.plain = true,
                "--value" => call.value_only = true,
                "-P" => {
                    call.value_only = true;
                    call.properties.extend(list(value));
                }
                "-p" | "--property" => call.properties.extend(list(value)),
                "-t" | "--type" => call.types.extend(list(value)),
                "--state" => call.states.extend(list(value)),
                "--failed" => call.states.push("failed".into()),
                "-n" | "--lines" => call.lines = value.and_then(|value| value.parse().ok()),
                "-s" | "--signal" => {
                    let value = value.unwrap_or_default();
                    call.signal =
                        unit_file::signal_from_name(&value).ok_or(format!("unknown signal `{value}`"))?;
                }
                "--kill-whom" | "--kill-who" => call.whom = value.unwrap_or_default(),
                "-o" | "--output" => call.json = value.is_some_and(|value| value.starts_with("json")),
                "--socket" => call.socket = value.unwrap_or_default().into(),
                "--job-mode" => {
                    call.mode = match value.unwrap_or_default().as_str() {
                        "fail" => units_api::JobMode::Fail,
                        "isolate" => units_api::JobMode::Isolate,
                        "ignore-dependencies" => units_api::JobMode::IgnoreDependencies,
                        _ => units_api::JobMode::Replace,
                    };
                }
                "--no-pager" | "-l" | "--full" | "-f" | "--force" | "--no-ask-password" | "--system"
                | "--wait" | "--no-reload" | "--no-wall" => {}
                other => return Err(format!("unrecognized option '{other}'")),
            },
        }
    }
    if call.verb.is_empty() {
        call.verb = "list-units".into();
    }
    Ok(Some(call))
}

impl Call {
    fn connect(&self) -> Result<Client, ClientError> {
        // Jobs may take as long as their units allow.
        Client::connect(&self.socket, Some(Duration::from_secs(24 * 3600)))
    }

    fn run(&self, verb: &str) -> Result<u8, ClientError> {
        match verb {
            "start"
            | "stop"
            | "restart"
            | "try-restart"
            | "condrestart"
            | "reload"
            | "reload-or-restart"
            | "force-reload"
            | "reload-or-try-restart"
            | "isolate" => self.jobs(verb),
            "kill" => self.simple(Method::Kill {
                units: self.units.clone(),
                signal: self.signal,
                whom: self.whom.clone(),
            }),
            "reset-failed" => self.simple(Method::ResetFailed { units: self.units.clone() }),
            "daemon-reload" | "daemon-reexec" => self.simple(Method::DaemonReload),
            "enable" | "disable" | "mask" | "unmask" | "reenable" | "preset" => self.install(verb),
            "set-environment" | "unset-environment" | "import-environment" => self.environment(verb),
            "show-environment" => self.show_environment(),
            "poweroff" | "reboot" | "halt" | "kexec" | "exit" => self.shutdown(verb),
            "is-active" => self.is_active(),
            "is-failed" => self.is_failed(),
            "is-enabled" => self.is_enabled(),
            "is-system-running" => self.is_system_running(),
            "status" => self.status(),
            "show" => self.show(),
            "cat" => self.cat(),
            "list-units" => self.list_units(),
            "list-unit-files" => self.list_unit_files(),
            "list-timers" => self.list_timers(),
            "list-jobs" => self.list_jobs(),
            "list-sockets" => self.list_sockets(),
            "list-dependencies" => self.list_dependencies(),
            "get-default" => {
                out("multi-user.target\n");
                Ok(0)
            }
            "version" => {
                out(&format!(
                    "rmachine units {} (in the manner of systemd 252)\n",
                    env!("CARGO_PKG_VERSION")
                ));
                Ok(0)
            }
            "help" => {
                out(HELP);
                Ok(0)
            }
            other => {
                err(&format!("Unknown command verb {other}."));
                Ok(1)
            }
        }
    }

    fn simple(&self, method: Method) -> Result<u8, ClientError> {
        self.connect()?.call(method).map(|_| 0)
    }

    fn explain(&self, verb: &str, error: &ClientError) -> String {
        match error {
            ClientError::Refused(refused) => {
                let units = self.units.join(", ");
                match verb {
                    "start" | "stop" | "restart" | "reload" | "kill" => {
                        format!("Failed to {verb} {units}: {refused}")
                    }
                    _ => refused.to_string(),
                }
            }
            other => {
                let source =
                    std::error::Error::source(other).map(|source| format!(": {source}")).unwrap_or_default();
                format!("{other}{source}")
            }
        }
    }
}

/// Data, to standard output. A reader that went away is no error.
fn out(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn err(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}
