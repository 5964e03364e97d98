//! What is fetched, and how: resources, proxies, authorities.

use super::{Findings, url};
use crate::types::{Ignition, Resource};

pub(super) fn check(findings: &mut Findings, ignition: &Ignition) {
    for (index, config) in ignition.config.merge.iter().enumerate() {
        required(findings, &format!("$.ignition.config.merge.{index}"), config);
    }
    resource(findings, "$.ignition.config.replace", &ignition.config.replace);
    for (index, authority) in ignition.security.tls.certificate_authorities.iter().enumerate() {
        required(findings, &format!("$.ignition.security.tls.certificateAuthorities.{index}"), authority);
    }
    proxy(findings, "$.ignition.proxy.httpProxy", ignition.proxy.http_proxy.as_deref(), true);
    proxy(findings, "$.ignition.proxy.httpsProxy", ignition.proxy.https_proxy.as_deref(), false);
}

fn proxy(findings: &mut Findings, at: &str, proxy: Option<&str>, plain_is_fine: bool) {
    let Some(proxy) = proxy else { return };
    match url::scheme(proxy).as_deref() {
        Ok("https") => {}
        Ok("http") if plain_is_fine => {}
        Ok("http") => findings.warning(at, "a proxy in plain HTTP carries what is fetched over HTTPS"),
        Ok(_) => findings.error_with(
            at,
            format!("the proxy `{proxy}` is neither http nor https"),
            "write http://HOST:PORT",
        ),
        Err(fault) => findings.error(at, fault),
    }
}

/// A resource that must say where it is.
fn required(findings: &mut Findings, at: &str, wanted: &Resource) {
    if wanted.source.as_deref().unwrap_or_default().is_empty() {
        findings.error(at, "the source is missing");
    }
    resource(findings, at, wanted);
}

/// A resource that may be absent.
pub(super) fn resource(findings: &mut Findings, at: &str, resource: &Resource) {
    let minor = findings.minor;
    if let Some(compression) = resource.compression.as_deref().filter(|name| !matches!(*name, "" | "gzip")) {
        findings.error(format!("{at}.compression"), format!("the compression `{compression}` is not gzip"));
    }
    let source = resource.source.as_deref().unwrap_or_default();
    if !source.is_empty()
        && let Some(fault) = url::fault(source, minor)
    {
        findings.error(format!("{at}.source"), fault);
    }
    hash(findings, at, resource);
    headers(findings, at, resource, source);
}

fn hash(findings: &mut Findings, at: &str, resource: &Resource) {
    let Some(hash) = resource.verification.hash.as_deref() else { return };
    let at = format!("{at}.verification.hash");
    if resource.source.is_none() {
        findings.error(&at, "a hash without a source");
    }
    let Some((function, sum)) = hash.split_once('-') else {
        return findings.error_with(
            at,
            format!("`{hash}` is no hash"),
            "write sha256- or sha512- and the digits",
        );
    };
    let digits = match function {
        "sha512" => 128,
        "sha256" if findings.minor >= 1 => 64,
        "sha256" => return findings.error(at, "sha256 came with spec 3.1.0"),
        _ => {
            return findings
                .error(at, format!("the hash function `{function}` is neither sha256 nor sha512"));
        }
    };
    if sum.len() != digits {
        findings.error(at, format!("a {function} hash has {digits} digits, this one has {}", sum.len()));
    } else if !sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        findings
            .warning(at, "the hash has other characters than hexadecimal digits, so nothing can match it");
    }
}

fn headers(findings: &mut Findings, at: &str, resource: &Resource, source: &str) {
    if resource.http_headers.is_empty() {
        return;
    }
    let at = format!("{at}.httpHeaders");
    for (index, header) in resource.http_headers.iter().enumerate() {
        if header.name.is_empty() {
            findings.error(format!("{at}.{index}.name"), "the name of the header is missing");
        } else if header.value.as_deref() == Some("") {
            let hint = "leave the key `value` out to remove the header of a parent config";
            findings.error_with(
                format!("{at}.{index}.value"),
                format!("the header `{}` is empty", header.name),
                hint,
            );
        }
    }
    match url::scheme(source).as_deref() {
        Ok("http" | "https") => {}
        Ok("") => findings.error(at, "headers without a URL to send them to"),
        Ok(scheme) => findings.error(at, format!("a `{scheme}` URL takes no HTTP headers")),
        Err(_) => {}
    }
}
