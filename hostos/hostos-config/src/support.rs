//! What a valid config may ask for that machines of this release cannot do. They refuse it before they
//! touch anything, and `rmachine` can refuse it before there is a machine.

use crate::diagnostic::Diagnostic;
use crate::types::{Config, Filesystem, Resource};

/// One error for each wish that cannot be fulfilled; places are not known.
#[must_use]
pub fn unsupported(config: &Config) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let storage = &config.storage;
    for (index, raid) in storage.raid.iter().enumerate() {
        let message = format!("software arrays such as `{}` are not supported yet", raid.name);
        found.push(
            Diagnostic::error(format!("$.storage.raid.{index}"), message).hint("use the disks one by one"),
        );
    }
    for (index, luks) in storage.luks.iter().enumerate() {
        let message = format!("encrypted volumes such as `{}` are not supported yet", luks.name);
        found.push(
            Diagnostic::error(format!("$.storage.luks.{index}"), message).hint("use the disk unencrypted"),
        );
    }
    for (index, wanted) in storage.filesystems.iter().enumerate() {
        filesystem(&mut found, &format!("$.storage.filesystems.{index}"), wanted);
    }
    for (at, resource) in resources(config) {
        source(&mut found, &at, resource);
    }
    found
}

fn filesystem(found: &mut Vec<Diagnostic>, at: &str, wanted: &Filesystem) {
    let format = wanted.format.as_deref().unwrap_or_default();
    if matches!(format, "btrfs" | "xfs") {
        let message = format!("{format} filesystems are not supported yet");
        found.push(Diagnostic::error(format!("{at}.format"), message).hint("use ext4"));
    }
    if !wanted.options.is_empty() {
        let message = "extra arguments of mkfs cannot be honoured: no mkfs program runs here";
        found.push(Diagnostic::error(format!("{at}.options"), message).hint("leave the options out"));
    }
}

fn source(found: &mut Vec<Diagnostic>, at: &str, resource: &Resource) {
    let scheme = resource.source.as_deref().unwrap_or_default().split(':').next().unwrap_or_default();
    if matches!(scheme.to_ascii_lowercase().as_str(), "s3" | "gs" | "arn") {
        let message = format!("`{scheme}` sources are not supported yet");
        found.push(
            Diagnostic::error(format!("{at}.source"), message).hint("use an https URL, presigned if need be"),
        );
    }
}

/// Everything that a config names by URL, with its path in the config.
#[must_use]
pub fn resources(config: &Config) -> Vec<(String, &Resource)> {
    let ignition = &config.ignition;
    let merge = ignition.config.merge.iter().enumerate();
    let authorities = ignition.security.tls.certificate_authorities.iter().enumerate();
    let mut all: Vec<(String, &Resource)> =
        merge.map(|(index, resource)| (format!("$.ignition.config.merge.{index}"), resource)).collect();
    all.push(("$.ignition.config.replace".into(), &ignition.config.replace));
    all.extend(authorities.map(|(index, resource)| {
        (format!("$.ignition.security.tls.certificateAuthorities.{index}"), resource)
    }));
    for (index, file) in config.storage.files.iter().enumerate() {
        all.push((format!("$.storage.files.{index}.contents"), &file.contents));
        let append = file.append.iter().enumerate();
        all.extend(
            append.map(|(part, resource)| (format!("$.storage.files.{index}.append.{part}"), resource)),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn messages(sections: &str) -> Vec<String> {
        let text = format!(r#"{{"ignition":{{"version":"3.4.0"}},"storage":{sections}}}"#);
        let (config, _) = parse(text.as_bytes(), "t").expect("it is valid");
        unsupported(&config).into_iter().map(|error| error.to_string()).collect()
    }

    #[test]
    fn each_wish_beyond_us_has_its_sentence() {
        for (sections, message) in [
            (r#"{"raid":[{"name":"a","level":"1","devices":["/dev/a"]}]}"#, "software arrays such as `a`"),
            (r#"{"luks":[{"name":"a","device":"/dev/a"}]}"#, "encrypted volumes such as `a`"),
            (r#"{"filesystems":[{"device":"/dev/a","format":"xfs"}]}"#, "xfs filesystems"),
            (
                r#"{"filesystems":[{"device":"/dev/a","format":"ext4","options":["-b"]}]}"#,
                "extra arguments of mkfs",
            ),
            (r#"{"files":[{"path":"/a","contents":{"source":"s3://a/b"}}]}"#, "`s3` sources"),
            (r#"{"files":[{"path":"/a","append":[{"source":"gs://a/b"}]}]}"#, "`gs` sources"),
            (r#"{"files":[{"path":"/a","contents":{"source":"arn:aws:s3:::a/b"}}]}"#, "`arn` sources"),
        ] {
            let found = messages(sections);
            assert!(found.len() == 1 && found[0].starts_with(message), "{sections}: {found:?}");
        }
        assert_eq!(messages(r#"{"filesystems":[{"device":"/dev/a","format":"ext4"}]}"#), [""; 0]);
    }
}
