//! URLs of a config: which schemes a version has, and the slips that Go's parser refuses.

use crate::data_url;

/// What is wrong with the URL of a resource, if anything is.
pub(super) fn fault(url: &str, minor: u32) -> Option<String> {
    let scheme = match scheme(url) {
        Ok(scheme) => scheme,
        Err(fault) => return Some(fault),
    };
    match scheme.as_str() {
        "http" | "https" | "tftp" => None,
        "s3" => s3_fault(url),
        "gs" if minor >= 2 => None,
        "arn" if minor >= 4 => arn_fault(url),
        "data" => data_url::decode(url).err().map(|error| {
            let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
            format!("the data URL cannot be read: {error}{cause}")
        }),
        "gs" => Some("`gs` URLs came with spec 3.2.0".into()),
        "arn" => Some("`arn` URLs came with spec 3.4.0".into()),
        "" => Some(format!("`{}` has no scheme such as https or data", shortened(url))),
        scheme => Some(format!("the scheme `{scheme}` is none of http, https, tftp, s3, gs, arn and data")),
    }
}

/// The scheme, in lower case; empty if there is none.
pub(super) fn scheme(url: &str) -> Result<String, String> {
    if let Some(control) = url.chars().find(|character| character.is_ascii_control()) {
        return Err(format!("the URL holds the control character U+{:04X}", u32::from(control)));
    }
    let end = url.find(|character: char| !(character.is_ascii_alphanumeric() || "+-.".contains(character)));
    let scheme = match end {
        Some(end) if url[end..].starts_with(':') => &url[..end],
        _ if url.starts_with(':') => return Err("the URL has no scheme before the colon".into()),
        _ => "",
    };
    if !scheme.is_empty() && !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return Err(format!("the URL `{}` begins with no letter", shortened(url)));
    }
    let rest = if scheme.is_empty() { url } else { &url[scheme.len() + 1..] };
    let rest = rest.split('#').next().unwrap_or_default();
    if let Some(hierarchy) = rest.strip_prefix("//") {
        check_authority(hierarchy)?;
    }
    Ok(scheme.to_ascii_lowercase())
}

fn check_authority(hierarchy: &str) -> Result<(), String> {
    let hierarchy = hierarchy.split('?').next().unwrap_or_default();
    let (authority, path) = hierarchy.split_once('/').unwrap_or((hierarchy, ""));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = match host.rsplit_once(']') {
        Some((_, rest)) => rest.strip_prefix(':'),
        None => host.split_once(':').map(|(_, port)| port),
    };
    if port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(format!("the URL has no proper port in `{host}`"));
    }
    if host.contains([' ', '<', '>', '"', '\\', '^', '`', '{', '}', '|']) {
        return Err(format!("the URL has no proper host in `{host}`"));
    }
    if !escapes_are_whole(path) || !escapes_are_whole(host) {
        return Err("the URL has a `%` without two hexadecimal digits".into());
    }
    Ok(())
}

fn escapes_are_whole(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| {
        let mut digits = rest.bytes();
        let mut digit = || digits.next().is_some_and(|byte| byte.is_ascii_hexdigit());
        digit() && digit()
    })
}

/// A version that is asked for has to be named.
fn s3_fault(url: &str) -> Option<String> {
    let query = url.split('#').next()?.split_once('?')?.1;
    let mut versions = query.split('&').filter_map(|pair| pair.strip_prefix("versionId"));
    let first = versions.next()?;
    matches!(first, "" | "=").then(|| format!("`{}` names no version behind versionId", shortened(url)))
}

fn arn_fault(url: &str) -> Option<String> {
    let parts: Vec<&str> = url.splitn(6, ':').collect();
    let names_object =
        matches!(parts.as_slice(), [_, _, "s3", .., resource] if parts.len() == 6 && resource.contains('/'));
    if names_object { None } else { Some(format!("`{}` names no object in S3", shortened(url))) }
}

fn shortened(url: &str) -> String {
    match url.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &url[..end]),
        None => url.into(),
    }
}
