//! Dockerfile instructions that import and commit take as changes.

use engine_image::RunConfig;

use super::call::Fail;

/// Applies `CMD …`, `ENV …` and so on.
pub(super) fn apply_changes(mut config: RunConfig, changes: &[String]) -> Result<RunConfig, Fail> {
    for change in changes {
        let (verb, rest) = change.trim().split_once(' ').unwrap_or((change, ""));
        match verb.to_ascii_uppercase().as_str() {
            "CMD" => {
                config.cmd = Some(
                    serde_json::from_str(rest)
                        .unwrap_or_else(|_| vec!["/bin/sh".into(), "-c".into(), rest.into()]),
                );
            }
            "ENV" => config.env.get_or_insert_default().push(rest.to_owned()),
            _ => return Err(Fail::bad(format!("{verb} is not a valid change command"))),
        }
    }
    Ok(config)
}
