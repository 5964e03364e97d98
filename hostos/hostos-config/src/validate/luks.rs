//! Encrypted volumes.

use super::{Findings, resources};
use crate::types::{Clevis, Luks};

const LABEL_LIMIT: usize = 47;

pub(super) fn check(findings: &mut Findings, volumes: &[Luks]) {
    for (index, luks) in volumes.iter().enumerate() {
        let at = format!("$.storage.luks.{index}");
        volume(findings, &at, luks);
        clevis(findings, &format!("{at}.clevis"), &luks.clevis);
    }
}

fn volume(findings: &mut Findings, at: &str, luks: &Luks) {
    if luks.name.contains('/') {
        findings.error(format!("{at}.name"), "the name of a volume cannot hold a slash");
    }
    if luks.label.as_ref().is_some_and(|label| label.len() > LABEL_LIMIT) {
        findings.error(
            format!("{at}.label"),
            format!("the label of a volume has at most {LABEL_LIMIT} characters"),
        );
    }
    match luks.device.as_deref().filter(|device| !device.is_empty()) {
        Some(device) => findings.path(&format!("{at}.device"), device),
        None => findings.error(format!("{at}.device"), "the device of the volume is missing"),
    }
    resources::resource(findings, &format!("{at}.keyFile"), &luks.key_file);
    if luks.cex.enabled == Some(true) && luks.clevis != Clevis::default() {
        findings.error(format!("{at}.cex"), "a volume has either cex or clevis");
    }
    if luks.cex.enabled == Some(true)
        && luks.key_file.source.as_deref().is_some_and(|source| !source.is_empty())
    {
        findings.error(format!("{at}.cex"), "a volume has either cex or a key file");
    }
}

fn clevis(findings: &mut Findings, at: &str, clevis: &Clevis) {
    let custom = &clevis.custom;
    let is_custom = custom.pin.is_some() || custom.config.is_some() || custom.needs_network.is_some();
    let others = !clevis.tang.is_empty()
        || clevis.tpm2 == Some(true)
        || clevis.threshold.is_some_and(|count| count != 0);
    if is_custom && others {
        findings.error(at, "a custom pin excludes tpm2, tang and threshold");
    }
    if is_custom {
        match custom.pin.as_deref().unwrap_or_default() {
            "" => findings.error(format!("{at}.custom.pin"), "the pin is missing"),
            "tpm2" | "tang" | "sss" => {}
            other => findings.error(
                format!("{at}.custom.pin"),
                format!("the pin `{other}` is none of tpm2, tang and sss"),
            ),
        }
        if custom.config.as_deref().unwrap_or_default().is_empty() {
            findings.error(format!("{at}.custom.config"), "the config of the pin is missing");
        }
    }
    for (index, tang) in clevis.tang.iter().enumerate() {
        let at = format!("{at}.tang.{index}");
        match super::url::scheme(&tang.url).as_deref() {
            Ok("http" | "https") => {}
            Ok("") => findings.error(format!("{at}.url"), "the URL of the server is missing"),
            Ok(scheme) => findings
                .error(format!("{at}.url"), format!("a server is reached by http or https, not `{scheme}`")),
            Err(fault) => findings.error(format!("{at}.url"), fault.clone()),
        }
        if tang.thumbprint.as_deref().unwrap_or_default().is_empty() {
            findings.error(format!("{at}.thumbprint"), "the thumbprint of the server is missing");
        }
        if tang
            .advertisement
            .as_deref()
            .is_some_and(|text| !text.is_empty() && crate::json::parse(text.as_bytes()).is_err())
        {
            findings.error(format!("{at}.advertisement"), "the advertisement is not JSON");
        }
    }
}
