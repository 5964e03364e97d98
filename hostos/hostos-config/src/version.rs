//! Which schema reads a config: its version, and a clear word for what is no Ignition 3 config at all.

use crate::diagnostic::Diagnostic;
use crate::json::{Spanned, Value};
use crate::schema::NEWEST_MINOR;

const VERSION: &str = "$.ignition.version";

/// The minor of the spec 3 version that the config states.
pub(crate) fn minor_of(tree: &Spanned) -> Result<u32, Diagnostic> {
    if tree.members().is_none() {
        let message = format!("a config is a JSON object, this is {}", tree.value.kind());
        return Err(Diagnostic::error("$", message).at(tree.at));
    }
    let version = tree.member("ignition").and_then(|ignition| ignition.value.member("version"));
    let Some(version) = version else {
        if let Some(old) = tree.member("ignitionVersion") {
            let message = "this is an Ignition 1 config, which is not supported";
            return Err(Diagnostic::error("$", message).at(old.key_at).hint(NEW_CONFIG));
        }
        let message = "the config has no `ignition.version`";
        let hint = format!("add \"ignition\": {{\"version\": \"3.{NEWEST_MINOR}.0\"}}");
        return Err(Diagnostic::error(VERSION, message).at(tree.at).hint(hint));
    };
    let at = version.value.at;
    let Value::String(text) = &version.value.value else {
        let message = format!("the version must be a string, this is {}", version.value.value.kind());
        return Err(Diagnostic::error(VERSION, message).at(at).hint(NEW_CONFIG));
    };
    minor_of_text(text).map_err(|diagnostic| diagnostic.at(at))
}

const NEW_CONFIG: &str = "write the config for spec 3.0.0 to 3.5.0";

fn minor_of_text(text: &str) -> Result<u32, Diagnostic> {
    let numbers: Option<Vec<u64>> = text.split('.').map(number).collect();
    match numbers.as_deref() {
        Some([3, minor, 0]) if *minor <= u64::from(NEWEST_MINOR) => Ok(u32::try_from(*minor).unwrap_or(0)),
        Some([2, _, _]) => Err(Diagnostic::error(VERSION, format!("spec {text} is not supported yet"))
            .hint("translate the config to spec 3, for instance with Butane or ign-converter")),
        Some([3, _, 0]) => Err(Diagnostic::error(VERSION, format!("spec {text} is newer than this program"))
            .hint(format!("use spec 3.{NEWEST_MINOR}.0 or older, or a newer release"))),
        Some([_, _, _]) => {
            Err(Diagnostic::error(VERSION, format!("there is no spec {text} that we know")).hint(NEW_CONFIG))
        }
        _ if text.contains(['-', '+']) => {
            Err(Diagnostic::error(VERSION, format!("`{text}` is an experimental or unofficial version"))
                .hint(NEW_CONFIG))
        }
        _ => Err(Diagnostic::error(VERSION, format!("`{text}` is not a version of three numbers"))
            .hint(NEW_CONFIG)),
    }
}

/// A number of a version; leading zeros are let through, as the elder does.
fn number(part: &str) -> Option<u64> {
    let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| part.parse().ok()).flatten()
}

/// Says more of a text that is not JSON, if it looks like something else we know.
pub(crate) fn hint_for_other_text(source: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(source);
    let text = text.trim_start();
    if text.is_empty() {
        "the config is empty; write at least {\"ignition\": {\"version\": \"3.5.0\"}}"
    } else if text.starts_with('\u{feff}') {
        "save the file as UTF-8 without a byte order mark"
    } else if text.starts_with("#cloud-config") {
        "this is a cloud-config; machines take Ignition configs"
    } else if text.starts_with("#!") {
        "this is a script; machines take Ignition configs, which can hold it as a unit or file"
    } else if text.starts_with("variant:") || text.contains("\nvariant:") {
        "this is a Butane config; turn it into Ignition with `butane` first"
    } else {
        ""
    }
}
