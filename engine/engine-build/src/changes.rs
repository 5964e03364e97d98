//! `docker commit --change` and `docker import --change`: instructions applied to a configuration.

use engine_image::RunConfig;
use engine_image::config::Empty;

use crate::dockerfile::expand::Expander;
use crate::dockerfile::{Command, RunForm, lines, parse_instruction};
use crate::error::BuildError;
use crate::ports;

/// Applies Dockerfile instructions that change only a configuration.
pub fn apply_changes(config: &mut RunConfig, changes: &[String]) -> Result<(), BuildError> {
    if changes.is_empty() {
        return Ok(());
    }
    let text = changes.join("\n");
    if text.trim().is_empty() {
        return Err(BuildError::bad_request("file with no instructions"));
    }
    let split = lines::split(&text)?;
    for line in split.lines {
        check_word(&line.text)?;
        // There is no Dockerfile whose line could be told.
        let place = format!("dockerfile parse error line {}: ", line.number);
        let instruction = parse_instruction(&line.text, line.number, split.escape)
            .map_err(|error| BuildError::bad_request(error.to_string().replacen(&place, "", 1)))?;
        apply(config, &instruction.command, split.escape)?;
    }
    Ok(())
}

/// The instructions that Docker lets change a configuration.
const CHANGES: [&str; 10] =
    ["cmd", "entrypoint", "env", "expose", "healthcheck", "label", "onbuild", "user", "volume", "workdir"];

fn check_word(line: &str) -> Result<(), BuildError> {
    let word = line.split_whitespace().next().unwrap_or_default().to_lowercase();
    match CHANGES.contains(&word.as_str()) {
        true => Ok(()),
        false => Err(BuildError::bad_request(format!("{word} is not a valid change command"))),
    }
}

fn apply(config: &mut RunConfig, command: &Command, escape: char) -> Result<(), BuildError> {
    let environment = config.env.clone().unwrap_or_default();
    let expander = Expander { escape, environment: &environment };
    let word = |text: &str| expander.word(text).map_err(BuildError::bad_request);
    let shell = config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
    let line = |form: &RunForm| match form {
        RunForm::Exec(list) => list.clone(),
        RunForm::Shell(text) => shell.iter().cloned().chain([text.clone()]).collect(),
    };
    match command {
        Command::Cmd(form) => config.cmd = Some(line(form)),
        Command::Entrypoint(form) => config.entrypoint = Some(line(form)),
        Command::Env(pairs) => {
            for (name, value) in pairs {
                let (name, value) = (word(name)?, word(value)?);
                let list = config.env.get_or_insert_default();
                list.retain(|pair| pair.split('=').next() != Some(name.as_str()));
                list.push(format!("{name}={value}"));
            }
        }
        Command::Label { pairs, .. } => {
            for (name, value) in pairs {
                config.labels.get_or_insert_default().insert(word(name)?, word(value)?);
            }
        }
        Command::User(user) => config.user = word(user)?,
        Command::Workdir(folder) => {
            let base = std::path::Path::new("/").join(&config.working_dir).join(word(folder)?);
            let clean = std::path::Path::new("/").join(engine_image::dirfd::clean(&base));
            config.working_dir = clean.to_string_lossy().into_owned();
        }
        Command::Expose(words) => {
            for port in words {
                for port in ports::expand(&word(port)?).map_err(BuildError::bad_request)? {
                    config.exposed_ports.insert(port, Empty {});
                }
            }
        }
        Command::Volume(volumes) => {
            for volume in volumes {
                config.volumes.get_or_insert_default().insert(word(volume)?, Empty {});
            }
        }
        Command::StopSignal(signal) => config.stop_signal = word(signal)?,
        Command::Shell(list) => config.shell = Some(list.clone()),
        Command::Healthcheck(check) => config.healthcheck = Some(check.clone()),
        Command::OnBuild(trigger) => config.on_build.get_or_insert_default().push(trigger.clone()),
        _ => {
            return Err(BuildError::bad_request(
                "only instructions that change the configuration can be changes",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_change() {
        let mut config = RunConfig { env: Some(vec!["A=1".into()]), ..RunConfig::default() };
        let changes = ["CMD x y", "ENV A=2 B=$A", "EXPOSE 80", "WORKDIR w", "LABEL a=b"].map(str::to_owned);
        apply_changes(&mut config, &changes).expect("fine");
        assert_eq!(config.cmd, Some(vec!["/bin/sh".into(), "-c".into(), "x y".into()]));
        assert_eq!(config.env, Some(vec!["A=2".into(), "B=1".into()]));
        assert_eq!(config.working_dir, "/w");
        assert!(config.exposed_ports.contains_key("80/tcp"));
        let refused = apply_changes(&mut config, &["RUN x".into()]).unwrap_err();
        assert_eq!(refused.to_string(), "run is not a valid change command");
    }
}
