//! What the engine was told: flags and daemon.json, merged as dockerd merges them.
//!
//! A setting given both ways is an error, and so is a key that nobody knows. Nothing is opened here
//! but the configuration file.

mod config;
mod flags;
mod table;
mod values;
#[cfg(test)]
mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub(crate) use config::{Config, Host, Tls};
pub use flags::command;
use table::{Kind, Support};

/// Where the configuration is looked for when no flag says where.
const DEFAULT_FILE: &str = "/etc/docker/daemon.json";

/// Why the engine does not start. The text is what the user sees.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OptionsError {
    /// Help or version was asked for, or the command line is wrong; clap knows what to print.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    #[error("{0}\nSee 'engined --help'.")]
    Flag(String),
    #[error("unable to configure the Docker daemon with file {}: {problem}", .path.display())]
    File { path: PathBuf, problem: String },
    #[error("{0}")]
    Value(String),
}

/// Settings by their key in daemon.json.
type Settings = BTreeMap<&'static str, Value>;

/// Reads flags and file.
pub(crate) fn load(args: Vec<std::ffi::OsString>) -> Result<Config, OptionsError> {
    let flags = flags::parse(args)?;
    let named = flags.config_file.is_some();
    let path = flags.config_file.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    let file = read_file(&path, named)?;
    let merged =
        merge(flags.settings, file).map_err(|problem| OptionsError::File { path: path.clone(), problem })?;
    let notes = judge(&merged).map_err(OptionsError::Value)?;
    let mut config = Config::from_settings(&merged).map_err(OptionsError::Value)?;
    config.validate = flags.validate;
    config.notes = notes;
    Ok(config)
}

fn read_file(path: &Path, must_exist: bool) -> Result<Settings, OptionsError> {
    let fail = |problem: String| OptionsError::File { path: path.to_owned(), problem };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must_exist => return Ok(Settings::new()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(fail(format!("open {}: no such file or directory", path.display())));
        }
        Err(e) => return Err(fail(format!("open {}: {e}", path.display()))),
    };
    parse_file(&bytes).map_err(fail)
}

fn parse_file(bytes: &[u8]) -> Result<Settings, String> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if text.trim_ascii().is_empty() {
        return Ok(Settings::new());
    }
    let object: serde_json::Map<String, Value> = serde_json::from_slice(text)
        .map_err(|e| if e.is_eof() { "unexpected EOF".to_owned() } else { format!("invalid JSON: {e}") })?;
    let proxies = object.get("proxies").and_then(Value::as_object).into_iter().flat_map(|p| p.keys());
    let unknown: Vec<&str> =
        object.keys().chain(proxies).map(String::as_str).filter(|k| table::by_key(k).is_none()).collect();
    if !unknown.is_empty() {
        return Err(format!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        ));
    }
    let mut settings = Settings::new();
    for (key, value) in flattened(object) {
        let Some(option) = table::by_key(&key) else { continue };
        check_type(&key, &value, option.kind)?;
        settings.insert(option.key, value);
    }
    Ok(settings)
}

/// The proxies stand in an object of their own, and are flags each.
fn flattened(mut object: serde_json::Map<String, Value>) -> serde_json::Map<String, Value> {
    if let Some(Value::Object(proxies)) = object.remove("proxies") {
        object.extend(proxies);
    }
    object
}

fn check_type(key: &str, value: &Value, kind: Kind) -> Result<(), String> {
    let (fits, wanted) = match kind {
        Kind::Bool => (value.is_boolean(), "bool"),
        // dockerd takes sizes as text or number.
        Kind::Text => (value.is_string() || (key == "default-shm-size" && value.is_number()), "string"),
        Kind::Number => (value.is_i64(), "int"),
        // default-ulimits is an object of objects.
        Kind::List => (value.is_array() || key == "default-ulimits" && value.is_object(), "[]string"),
        Kind::Map | Kind::Nested => (value.is_object(), "map[string]string"),
    };
    if fits || value.is_null() {
        return Ok(());
    }
    let got = match value {
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        _ => "object",
    };
    Err(format!("json: cannot unmarshal {got} into Go struct field Config.{key} of type {wanted}"))
}

fn merge(flags: Settings, mut file: Settings) -> Result<Settings, String> {
    let both: Vec<String> = flags
        .iter()
        .filter_map(|(key, flag)| {
            let in_file = file.get(key)?;
            Some(format!("{key}: (from flag: {}, from file: {})", go_text(flag), go_text(in_file)))
        })
        .collect();
    if !both.is_empty() {
        return Err(format!(
            "the following directives are specified both as a flag and in the configuration file: {}",
            both.join(", ")
        ));
    }
    file.extend(flags);
    file.retain(|_, v| !v.is_null());
    if file.contains_key("graph") && file.contains_key("data-root") {
        return Err(r#"cannot specify both "--graph" and "--data-root" option"#.into());
    }
    if let Some(root) = file.remove("graph") {
        file.insert("data-root", root);
    }
    Ok(file)
}

/// A value as Go's `%v` prints it.
fn go_text(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", go_text(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

/// Refuses what engined cannot do; the rest that has no effect comes back as notes for the log.
fn judge(settings: &Settings) -> Result<Vec<String>, String> {
    let mut notes = Vec::new();
    for (key, value) in settings {
        let Some(option) = table::by_key(key) else { continue };
        match option.support {
            Support::Works => {}
            Support::Idle(why) => notes.push(format!("--{} has no effect: {why}", option.flag)),
            Support::Only(good, _) if go_text(value) == good => {}
            // Nothing asked for.
            Support::Only(..) | Support::Refused(_) if is_nothing(value) => {}
            Support::Only(_, why) | Support::Refused(why) => {
                return Err(format!("--{} is not supported: {why}", option.flag));
            }
        }
    }
    Ok(notes)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::String(s) => s.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(n) => n.as_i64() == Some(0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn try_load(flags: &[&str], file: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.json");
        std::fs::write(&path, file).unwrap();
        let mut args = vec!["engined".to_owned(), format!("--config-file={}", path.display())];
        args.extend(flags.iter().map(|s| (*s).to_owned()));
        load(args.into_iter().map(Into::into).collect())
            .map_err(|e| e.to_string().replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn flags_and_file_add_up() {
        let c = try_load(
            &[
                "-D",
                "--icc=false",
                "-H",
                "unix:///a",
                "-H",
                "unix:///b",
                "--label=x=y",
                "--log-opt",
                "max-size=1m",
            ],
            r#"{"mtu": 1400, "data-root": "/d", "registry-mirrors": ["https://m"]}"#,
        )
        .unwrap();
        assert!(c.debug && !c.icc && c.mtu == 1400 && c.data_root == Path::new("/d"));
        assert_eq!(c.hosts, vec![Host::Unix("/a".into()), Host::Unix("/b".into())]);
        assert_eq!((c.labels[0].as_str(), c.log_opts["max-size"].as_str()), ("x=y", "1m"));
    }

    #[test]
    fn a_setting_given_twice_is_refused_with_dockers_words() {
        let e =
            try_load(&["-D", "-H", "unix:///b"], r#"{"debug": true, "hosts": ["unix:///a"]}"#).unwrap_err();
        assert_eq!(
            e,
            "unable to configure the Docker daemon with file FILE: the following directives are specified both as a flag and in the configuration file: debug: (from flag: true, from file: true), hosts: (from flag: [unix:///b], from file: [unix:///a])"
        );
    }

    #[test]
    fn bad_files() {
        let fail = |text| try_load(&[], text).unwrap_err();
        assert!(
            fail(r#"{"foo":1,"bar":2}"#)
                .ends_with(": the following directives don't match any configuration option: bar, foo")
        );
        assert!(fail(r#"{"debug":"#).ends_with("FILE: unexpected EOF"));
        assert!(
            fail(r#"{"debug":"x"}"#)
                .ends_with("cannot unmarshal string into Go struct field Config.debug of type bool")
        );
    }

    #[test]
    fn bad_flags_say_what_is_wrong() {
        for (flags, text) in [
            (&["--foo"][..], "unknown flag: --foo"),
            (
                &["-H", "bad://x"],
                r#"invalid argument "bad://x" for "-H, --host" flag: Invalid bind address format: bad://x"#,
            ),
            (&["-H", "fd://"], "fd:// is not supported"),
            (
                &["--icc=maybe"],
                r#"invalid argument "maybe" for "--icc" flag: strconv.ParseBool: parsing "maybe": invalid syntax"#,
            ),
            (
                &["--mtu=x"],
                r#"invalid argument "x" for "--mtu" flag: strconv.ParseInt: parsing "x": invalid syntax"#,
            ),
            (&["--label", "x"], "bad attribute format: x"),
            (&["--dns", "x"], "x is not an ip address"),
            (&["-g", "/a", "--data-root", "/b"], r#"cannot specify both "--graph" and "--data-root" option"#),
            (&["--userns-remap=default"], "--userns-remap is not supported: "),
            (&["--live-restore=false"], "--live-restore is not supported: "),
            (&["--storage-driver=btrfs"], "--storage-driver"),
            (&["--log-level=loud"], "unable to parse logging level: loud"),
        ] {
            let e = try_load(flags, "{}").unwrap_err();
            assert!(e.contains(text), "{flags:?}: {e}");
        }
    }

    #[test]
    fn old_spellings_work() {
        let c = try_load(&["-d", "-g", "/x", "--live-restore"], "{}").unwrap();
        assert_eq!(c.data_root, Path::new("/x"));
        assert_eq!(c.notes.len(), 0);
    }

    #[test]
    fn plain_tcp_needs_a_word() {
        let e = try_load(&["-H", "tcp://127.0.0.1:2375"], "{}").unwrap_err();
        assert!(e.contains("--tls=false"), "{e}");
        assert!(try_load(&["-H", "tcp://127.0.0.1:2375", "--tls=false"], "{}").is_ok());
    }
}
