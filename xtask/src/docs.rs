//! `cargo xtask docs`: help pages, man pages and completions, all from the one clap definition.
//!
//! The help page of a program is committed beside it (`help.txt`), so that a reviewer sees what a
//! user will see; `--check` fails when it is out of step. Linking every program takes its time, so
//! the feature `docs` holds that work, and this verb calls itself again with it. What it builds for that
//! is what the tests are built from, so that nothing is compiled twice.

/// Flags of `docs`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only compare the committed help pages with the generated ones
    #[arg(long)]
    pub(crate) check: bool,
}

#[cfg(not(feature = "docs"))]
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    use crate::cargo;

    // The same packages and targets as for the tests: with others, cargo would choose other features.
    let words = ["build", "--quiet", "--workspace", "--exclude", "system-tests", "--all-targets"];
    cargo::run(cargo::cargo(words).args(["--features", "xtask/docs"]))?;
    let program = cargo::target_dir().join("debug/xtask");
    cargo::run(std::process::Command::new(program).arg("docs").args(args.check.then_some("--check")))
}

#[cfg(feature = "docs")]
pub(crate) use generate::run;

#[cfg(feature = "docs")]
mod generate {
    //! The work itself.

    use std::path::{Path, PathBuf};

    use anyhow::{Context, Result, bail};
    use clap::Command;

    use super::Args;
    use crate::cargo;

    /// Every program of ours: the folder of its crate and its definition.
    fn programs() -> Vec<(&'static str, Command)> {
        vec![
            ("machine/rmachine", rmachine::command()),
            ("engine/engined", engined::command()),
            ("kv/kvd", kvd::command()),
            ("kv/kvctl", kvctl::command()),
            ("fleetd/fleetd", fleetd::command()),
            ("fleetd/fleetctl", fleetctl::command()),
        ]
    }

    pub(crate) fn run(args: &Args) -> Result<()> {
        let mut stale = Vec::new();
        for (folder, command) in programs() {
            let page = cargo::root().join(folder).join("help.txt");
            let text = help_page(command.clone());
            if let Some(line) = text.lines().find(|line| line.chars().count() > 80) {
                bail!("{folder}: a help line is longer than 80 columns: {line}");
            }
            let committed = std::fs::read_to_string(&page).unwrap_or_default();
            if committed != text && args.check {
                stale.push(folder);
            } else if committed != text {
                std::fs::write(&page, text).with_context(|| format!("could not write {}", page.display()))?;
            }
            if !args.check {
                write_man_and_completions(command)?;
            }
        }
        if !stale.is_empty() {
            bail!("the committed help of {} is out of step: run `cargo xtask docs`", stale.join(", "));
        }
        Ok(())
    }

    /// The `--help` of a program and, below it, of each of its subcommands.
    fn help_page(command: Command) -> String {
        let mut page = String::new();
        let mut root = command.term_width(80);
        root.build();
        append(&mut page, &mut root);
        page
    }

    fn append(page: &mut String, command: &mut Command) {
        let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
        let help = command.clone().term_width(80).render_long_help().to_string();
        page.push_str(&format!("$ {name} --help\n"));
        for line in help.lines() {
            page.push_str(line.trim_end());
            page.push('\n');
        }
        page.push('\n');
        for subcommand in
            command.get_subcommands_mut().filter(|it| !it.is_hide_set() && it.get_name() != "help")
        {
            append(page, subcommand);
        }
    }

    fn write_man_and_completions(mut command: Command) -> Result<()> {
        let dir = cargo::target_dir().join("docs");
        let name = command.get_name().to_owned();
        let man = make(&dir.join("man"))?;
        clap_mangen::generate_to(command.clone(), &man).context("could not write man pages")?;
        for shell in [clap_complete::Shell::Bash, clap_complete::Shell::Fish, clap_complete::Shell::Zsh] {
            let to = make(&dir.join("completions").join(shell.to_string()))?;
            clap_complete::generate_to(shell, &mut command, &name, &to)
                .context("could not write completions")?;
        }
        eprintln!("{name}: man pages and completions are below {}", dir.display());
        Ok(())
    }

    fn make(dir: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(dir).with_context(|| format!("could not make {}", dir.display()))?;
        Ok(dir.to_owned())
    }
}
