//! The applet `hostos`: `hostos ignition validate | plan | apply`.
//!
//! `validate` and `plan` work on any workstation and touch nothing; `plan` fetches what the config merges.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use hostos_config::{Diagnostic, Rejected, plan, unsupported};

use crate::apply::apply;
use crate::load::{LoadError, load};
use crate::root::Root;

/// What belongs to the operating system of a machine.
#[derive(Parser)]
#[command(name = "hostos", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    area: Area,
}

#[derive(Subcommand)]
enum Area {
    /// Check, explain and apply Ignition configs.
    Ignition {
        #[command(subcommand)]
        command: Command,
    },
}

#[derive(Subcommand)]
enum Command {
    /// Say whether a config is valid, and what is wrong with it.
    Validate {
        /// The config, `-` for standard input.
        file: PathBuf,
    },
    /// Say what a config would do to a machine.
    Plan {
        /// How to print it.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        /// The config, `-` for standard input.
        file: PathBuf,
    },
    /// Make a root directory, and the disks that the config names, as it says.
    Apply {
        /// The root directory.
        #[arg(long, value_name = "DIR")]
        root: PathBuf,
        /// The config, `-` for standard input.
        file: PathBuf,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// The definition of the command line, for generated documentation.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the applet; `args[0]` is its name.
#[must_use]
pub fn run(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let Area::Ignition { command } = cli.area;
    let result = match command {
        Command::Validate { file } => validate(&file),
        Command::Plan { format, file } => show_plan(&file, format),
        Command::Apply { root, file } => apply_to(&root, &file),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed) => ExitCode::FAILURE,
    }
}

/// Everything is said already.
struct Failed;

fn validate(file: &Path) -> Result<(), Failed> {
    let (bytes, name) = read(file)?;
    let (config, warnings) = hostos_config::parse(&bytes, &name).map_err(rejected)?;
    warnings.iter().for_each(say);
    for refused in unsupported(&config) {
        eprintln!("warning: {name}: valid, but machines of this release refuse it: {refused}");
    }
    println!("{name}: valid");
    Ok(())
}

fn show_plan(file: &Path, format: Format) -> Result<(), Failed> {
    let (bytes, name) = read(file)?;
    let loaded = load(&bytes, &name).map_err(not_loaded)?;
    loaded.warnings.iter().for_each(say);
    let refused: Vec<Diagnostic> = unsupported(&loaded.config)
        .into_iter()
        .map(|refused| Diagnostic { file: name.clone(), ..refused })
        .collect();
    if !refused.is_empty() {
        return Err(rejected(Rejected { diagnostics: refused }));
    }
    let steps = plan(&loaded.config);
    match format {
        Format::Text => steps.iter().for_each(|step| println!("{step}")),
        Format::Json => {
            let steps: Vec<_> = steps
                .iter()
                .map(|step| serde_json::json!({"verb": step.verb, "object": step.object, "detail": step.detail}))
                .collect();
            println!("{:#}", serde_json::Value::from(steps));
        }
    }
    Ok(())
}

fn apply_to(root: &Path, file: &Path) -> Result<(), Failed> {
    let (bytes, name) = read(file)?;
    let loaded = load(&bytes, &name).map_err(not_loaded)?;
    loaded.warnings.iter().for_each(say);
    let opened =
        Root::open(root).map_err(|error| fail(&format!("cannot open {}", root.display()), &error))?;
    let report = apply(&loaded.config, &opened).map_err(|error| fail(&name, &error))?;
    println!("{name}: {} files, directories and links, {} units", report.nodes, report.units);
    Ok(())
}

fn read(file: &Path) -> Result<(Vec<u8>, String), Failed> {
    let name = if file == Path::new("-") { "standard input".into() } else { file.display().to_string() };
    let mut bytes = Vec::new();
    let result = if file == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes).map(|_| ())
    } else {
        fs::read(file).map(|content| bytes = content)
    };
    result.map_err(|error| fail(&format!("cannot read {name}"), &error))?;
    Ok((bytes, name))
}

fn rejected(rejected: Rejected) -> Failed {
    rejected.diagnostics.iter().for_each(say);
    Failed
}

fn not_loaded(error: LoadError) -> Failed {
    match error {
        LoadError::Rejected(found) => rejected(found),
        other => fail("cannot load the config", &other),
    }
}

fn say(diagnostic: &Diagnostic) {
    let kind = if diagnostic.is_error() { "error" } else { "warning" };
    eprintln!("{kind}: {diagnostic}");
    if !diagnostic.hint.is_empty() {
        eprintln!(" hint: {}", diagnostic.hint);
    }
}

fn fail(what: &str, error: &dyn std::error::Error) -> Failed {
    let mut line = format!("error: {what}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    eprintln!("{line}");
    Failed
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_defined() {
        super::command().debug_assert();
    }
}
