//! The parts of an http, https or tftp URL, and where a redirect leads.

/// Where a URL points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) scheme: String,
    /// `USER:PASSWORD`, unescaped.
    pub(super) user: Option<String>,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// With its query; begins with a slash.
    pub(super) path: String,
}

impl Address {
    /// Reads a URL with an authority.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(unescape(user)), host),
            None => (None, authority),
        };
        let (host, port) = split_port(host)?;
        let port = match port {
            Some(port) => port,
            None => default_port(&scheme)?,
        };
        let path = if path.starts_with('/') { escape(path) } else { format!("/{}", escape(path)) };
        (!host.is_empty()).then(|| Self { scheme, user, host: host.into(), port, path })
    }

    /// Where the `Location` of a redirect leads from here.
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        if location.contains("://") {
            return Self::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme));
        }
        let path = if location.starts_with('/') {
            location.to_owned()
        } else {
            let path = self.path.split('?').next().unwrap_or_default();
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            format!("{directory}/{location}")
        };
        let path = path.split('#').next().unwrap_or_default();
        Some(Self { path: escape(path), ..self.clone() })
    }

    /// `HOST` or `HOST:PORT`, as a Host header has it.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match default_port(&self.scheme) {
            Some(port) if port == self.port => host,
            _ => format!("{host}:{}", self.port),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority(), self.path)
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "tftp" => Some(69),
        _ => None,
    }
}

fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    match port.filter(|port| !port.is_empty()) {
        Some(port) => Some((host, Some(port.parse().ok()?))),
        None => Some((host, None)),
    }
}

/// Escapes what cannot stand in a request line.
fn escape(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Replaces each `%XX` by the byte it stands for.
pub(super) fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => {
                let digit =
                    |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(high).zip(digit(low)).map(|(high, low)| high * 16 + low)
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_url_are_found() {
        let address = Address::parse("HTTPS://me:a%40b@example.com:8443/a b?c#d").expect("a URL");
        assert_eq!(address.to_string(), "https://example.com:8443/a%20b?c");
        assert_eq!(address.user.as_deref(), Some("me:a@b"));
        assert_eq!(
            Address::parse("http://[::1]").map(|address| address.to_string()).as_deref(),
            Some("http://[::1]/")
        );
        assert_eq!(Address::parse("http://a?b").map(|address| address.path).as_deref(), Some("/?b"));
        assert_eq!(Address::parse("http:///a"), None);
        assert_eq!(Address::parse("ftp://a/"), None);
    }

    #[test]
    fn redirects_lead_to_any_form_of_location() {
        let here = Address::parse("http://a:1/b/c?d").expect("a URL");
        let to = |location: &str| here.join(location).map(|address| address.to_string()).unwrap_or_default();
        assert_eq!(to("https://x/y"), "https://x/y");
        assert_eq!(to("//x/y"), "http://x/y");
        assert_eq!(to("/y"), "http://a:1/y");
        assert_eq!(to("y?z"), "http://a:1/b/y?z");
    }
}
