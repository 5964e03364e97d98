//! `--mount`, `--tmpfs`, `-v`, `--device` and `--ulimit` as the engine takes them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::flags::Options;
use crate::http::Failure;

/// `type=bind,source=/a,target=/b,readonly` and its kin.
pub(crate) fn mount(spec: &str, options: &Options<'_>) -> Result<Value, Failure> {
    let wrong = |why: &str| options.wrong("mount", spec, why);
    let mut mount = json!({ "Type": "volume" });
    let sub = |kind: &str, key: &str, value: Value, mount: &mut Value| mount[kind][key] = value;
    for field in spec.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        let is_switch = !field.contains('=');
        let boolean = || match value {
            _ if is_switch => Ok(true),
            "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            _ => Err(wrong(&format!("invalid value for {key}: {value}"))),
        };
        match key.to_lowercase().as_str() {
            "type" => mount["Type"] = value.to_lowercase().into(),
            "source" | "src" => mount["Source"] = value.into(),
            "target" | "dst" | "destination" => mount["Target"] = value.into(),
            "readonly" | "ro" => mount["ReadOnly"] = boolean()?.into(),
            "consistency" => mount["Consistency"] = value.into(),
            "bind-propagation" => sub("BindOptions", "Propagation", value.into(), &mut mount),
            "bind-nonrecursive" => sub("BindOptions", "NonRecursive", boolean()?.into(), &mut mount),
            "volume-nocopy" => sub("VolumeOptions", "NoCopy", boolean()?.into(), &mut mount),
            "volume-label" => {
                let (name, value) = value.split_once('=').unwrap_or((value, ""));
                mount["VolumeOptions"]["Labels"][name] = value.into();
            }
            "volume-driver" => mount["VolumeOptions"]["DriverConfig"]["Name"] = value.into(),
            "volume-opt" => {
                let (name, value) = value.split_once('=').unwrap_or((value, ""));
                mount["VolumeOptions"]["DriverConfig"]["Options"][name] = value.into();
            }
            "tmpfs-size" => {
                let bytes = engine_api::size::parse(value);
                let bytes = bytes.ok_or_else(|| wrong(&format!("invalid value for {key}: {value}")))?;
                sub("TmpfsOptions", "SizeBytes", bytes.into(), &mut mount);
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(value, 8);
                let mode = mode.map_err(|_| wrong(&format!("invalid value for {key}: {value}")))?;
                sub("TmpfsOptions", "Mode", mode.into(), &mut mount);
            }
            _ if is_switch => {
                return Err(wrong(&format!("invalid field '{field}' must be a key=value pair")));
            }
            _ => return Err(wrong(&format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    match mount["Target"].as_str() {
        None | Some("") => Err(wrong("target is required")),
        Some(_) => Ok(mount),
    }
}

/// `-v` with a source is a bind or a named volume, without one an anonymous volume.
pub(crate) fn volumes(specs: &[String]) -> Result<(Vec<String>, Map<String, Value>), Failure> {
    let (mut binds, mut anonymous) = (Vec::new(), Map::new());
    for spec in specs {
        let wrong = |why: &str| Err(Failure::Usage(format!("invalid spec: {spec}: {why}")));
        if spec.split(':').count() > 3 {
            return wrong("too many colons");
        }
        if spec.split(':').any(str::is_empty) {
            return wrong("empty section between colons");
        }
        match spec.contains(':') {
            true => binds.push(spec.clone()),
            false => drop(anonymous.insert(spec.clone(), json!({}))),
        }
    }
    Ok((binds, anonymous))
}

/// `/run:size=1m` as a folder and its options.
pub(crate) fn tmpfs(specs: &[String]) -> BTreeMap<String, String> {
    let pair = |spec: &String| match spec.split_once(':') {
        Some((folder, options)) => (folder.to_owned(), options.to_owned()),
        None => (spec.clone(), String::new()),
    };
    specs.iter().map(pair).collect()
}

/// `/dev/a[:/dev/b[:rwm]]`.
pub(crate) fn device(spec: &str) -> Result<Value, Failure> {
    let is_mode = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let parts: Vec<&str> = spec.split(':').collect();
    let (host, inside, mode) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, mode] if is_mode(mode) => (*host, *host, *mode),
        [host, inside] => (*host, *inside, "rwm"),
        [host, inside, mode] if is_mode(mode) => (*host, *inside, *mode),
        _ => return Err(Failure::Usage(format!("invalid device specification: {spec}"))),
    };
    Ok(json!({ "PathOnHost": host, "PathInContainer": inside, "CgroupPermissions": mode }))
}

/// `nofile=100[:200]`.
pub(crate) fn ulimit(spec: &str, options: &Options<'_>) -> Result<Value, Failure> {
    let wrong = || options.wrong("ulimit", spec, &format!("invalid ulimit argument: {spec}"));
    let (name, limits) = spec.split_once('=').ok_or_else(wrong)?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| text.parse::<i64>().map_err(|_| wrong());
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && soft > hard {
        let why = format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}");
        return Err(options.wrong("ulimit", spec, &why));
    }
    Ok(json!({ "Name": name, "Soft": soft, "Hard": hard }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Command;

    #[test]
    fn mounts() {
        let matches = Command::new("x").get_matches_from(["x"]);
        let options = Options::new(&matches, &[]);
        let read = |spec: &str| mount(spec, &options).map_err(|failure| failure.to_string());
        assert_eq!(
            read("type=bind,src=/a,dst=/b,readonly,bind-propagation=rslave"),
            Ok(json!({"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true,
                "BindOptions": {"Propagation": "rslave"}}))
        );
        assert_eq!(
            read("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777"),
            Ok(
                json!({"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1_048_576, "Mode": 1023}})
            )
        );
        for (spec, why) in [
            ("type=bind", "target is required"),
            ("nonsense,target=/x", "invalid field 'nonsense' must be a key=value pair"),
            ("what=ever", "unexpected key 'what' in 'what=ever'"),
            ("target=/x,ro=maybe", "invalid value for ro: maybe"),
        ] {
            assert!(read(spec).is_err_and(|said| said.ends_with(why)), "{spec}");
        }
    }

    #[test]
    fn devices() {
        assert_eq!(device("/dev/a:r").unwrap()["CgroupPermissions"], "r");
        assert_eq!(device("/dev/a:/dev/b").unwrap()["PathInContainer"], "/dev/b");
        assert!(device("a:b:c:d").is_err());
    }
}
