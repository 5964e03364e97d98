//! A configuration file: etcd's YAML, whose keys are the flags' names, with a block each for the two sides' TLS.

use std::ffi::OsString;

use yaml_rust2::{Yaml, YamlLoader};

use super::Misuse;

/// The command line that says the same as a file.
pub(super) fn arguments(path: &str) -> Result<Vec<OsString>, Misuse> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let reason = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            _ => error.to_string(),
        };
        Misuse::refused(format!("open {path}: {reason}"))
    })?;
    parse(&text).map_err(|reason| Misuse::refused(format!("{path}: {reason}")))
}

fn parse(text: &str) -> Result<Vec<OsString>, String> {
    let documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
    let Some(document) = documents.first() else { return Ok(Vec::new()) };
    let entries = document.as_hash().ok_or("not a mapping of flags to values")?;
    let mut arguments = Vec::new();
    for (key, value) in entries {
        let key = key.as_str().ok_or("a key is not a name")?;
        match (key, value) {
            ("client-transport-security", Yaml::Hash(block)) => add_block(&mut arguments, "", key, block)?,
            ("peer-transport-security", Yaml::Hash(block)) => add_block(&mut arguments, "peer-", key, block)?,
            _ => add(&mut arguments, "", key, value)?,
        }
    }
    Ok(arguments)
}

fn add_block(
    arguments: &mut Vec<OsString>,
    prefix: &str,
    block: &str,
    entries: &yaml_rust2::yaml::Hash,
) -> Result<(), String> {
    for (key, value) in entries {
        let key = key.as_str().ok_or_else(|| format!("a key in {block} is not a name"))?;
        // etcd's own spelling differs from its flags here.
        let key = if key == "allowed-cn" { "cert-allowed-cn" } else { key };
        add(arguments, prefix, key, value)?;
    }
    Ok(())
}

fn add(arguments: &mut Vec<OsString>, prefix: &str, key: &str, value: &Yaml) -> Result<(), String> {
    let one = |value: &Yaml| match value {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(number) => Some(number.to_string()),
        Yaml::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    };
    let text = match value {
        Yaml::Null => return Ok(()),
        Yaml::Array(items) => items.iter().map(one).collect::<Option<Vec<_>>>().map(|items| items.join(",")),
        value => one(value),
    };
    let text = text.ok_or_else(|| format!("`{key}` is neither a value nor a list of values"))?;
    arguments.push(format!("--{prefix}{key}={text}").into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_flags_say() {
        let text = "name: 'a'\nheartbeat-interval: 50\nenable-v2: false\nwal-dir:\nlog-outputs: [stderr]\n\
                    client-transport-security:\n  cert-file: /c\n  client-cert-auth: true\n\
                    peer-transport-security:\n  key-file: /k\n";
        let arguments = parse(text).expect("good");
        let expected = [
            "--name=a",
            "--heartbeat-interval=50",
            "--enable-v2=false",
            "--log-outputs=stderr",
            "--cert-file=/c",
            "--client-cert-auth=true",
            "--peer-key-file=/k",
        ];
        assert_eq!(arguments, expected);
        assert!(parse("name: {a: b}").is_err());
        assert!(parse("- a").is_err());
    }
}
