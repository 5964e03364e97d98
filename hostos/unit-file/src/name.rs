//! Unit names: `prefix@instance.kind`, and the escaping of paths in them.

use std::fmt;
use std::str::FromStr;

/// The kind of a unit, told by its suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnitKind {
    /// A supervised process.
    Service,
    /// A listening socket that starts a service.
    Socket,
    /// A synchronisation point.
    Target,
    /// A clock that starts a unit.
    Timer,
    /// A watched path that starts a unit.
    Path,
    /// A mount point.
    Mount,
    /// A mount point that is mounted on first use.
    Automount,
    /// A swap area.
    Swap,
    /// A kernel device.
    Device,
    /// A node of the cgroup tree.
    Slice,
    /// Processes started by others.
    Scope,
}

impl UnitKind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Service,
        Self::Socket,
        Self::Target,
        Self::Timer,
        Self::Path,
        Self::Mount,
        Self::Automount,
        Self::Swap,
        Self::Device,
        Self::Slice,
        Self::Scope,
    ];

    /// The suffix, without its dot.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Socket => "socket",
            Self::Target => "target",
            Self::Timer => "timer",
            Self::Path => "path",
            Self::Mount => "mount",
            Self::Automount => "automount",
            Self::Swap => "swap",
            Self::Device => "device",
            Self::Slice => "slice",
            Self::Scope => "scope",
        }
    }

    /// The section of its own options, where it has one.
    #[must_use]
    pub const fn section(self) -> Option<&'static str> {
        match self {
            Self::Service => Some("Service"),
            Self::Socket => Some("Socket"),
            Self::Timer => Some("Timer"),
            Self::Path => Some("Path"),
            Self::Mount => Some("Mount"),
            Self::Automount => Some("Automount"),
            Self::Swap => Some("Swap"),
            Self::Slice => Some("Slice"),
            Self::Scope => Some("Scope"),
            Self::Target | Self::Device => None,
        }
    }

    fn from_suffix(suffix: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.suffix() == suffix)
    }
}

/// Why a text is no unit name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty or over 255 characters.
    #[error("unit name `{0}` must have 1 to 255 characters")]
    Length(String),
    /// A character that names may not have.
    #[error("unit name `{0}` has a character outside of letters, digits and `:-_.\\@`")]
    Character(String),
    /// No suffix, or an unknown one.
    #[error("unit name `{0}` has no known suffix such as .service")]
    Suffix(String),
    /// Nothing before the suffix or the `@`.
    #[error("unit name `{0}` has nothing before its suffix or `@`")]
    Prefix(String),
}

/// A valid unit name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitName {
    full: String,
    kind: UnitKind,
}

impl UnitName {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> UnitKind {
        self.kind
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// The name without its suffix (`%N`, still escaped).
    #[must_use]
    pub fn stem(&self) -> &str {
        &self.full[..self.full.len() - self.kind.suffix().len() - 1]
    }

    /// What stands before the first `@`, or the stem.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.stem().split_once('@').map_or(self.stem(), |(prefix, _)| prefix)
    }

    /// What stands behind the first `@`: empty for a template, nothing for a plain name.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.stem().split_once('@').map(|(_, instance)| instance)
    }

    /// `name@.kind`, which can only be started as an instance.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.instance() == Some("")
    }

    /// `name@.kind` of an instance.
    #[must_use]
    pub fn template(&self) -> Option<Self> {
        self.instance().filter(|instance| !instance.is_empty())?;
        let full = format!("{}@.{}", self.prefix(), self.kind.suffix());
        Some(Self { full, kind: self.kind })
    }

    /// An instance of this template (the same name if this is none).
    #[must_use]
    pub fn instantiate(&self, instance: &str) -> Self {
        if !self.is_template() {
            return self.clone();
        }
        let full = format!("{}@{instance}.{}", self.prefix(), self.kind.suffix());
        Self { full, kind: self.kind }
    }

    /// The same name with another suffix: `a.timer` for `a.service`.
    #[must_use]
    pub fn with_kind(&self, kind: UnitKind) -> Self {
        Self { full: format!("{}.{}", self.stem(), kind.suffix()), kind }
    }

    /// As operators type it: a path is its mount or device, what names may not have is escaped, and a
    /// missing suffix becomes `.service`.
    ///
    /// # Errors
    /// The name is empty or too long.
    pub fn from_operator(text: &str) -> Result<Self, NameError> {
        if let Ok(name) = text.parse() {
            return Ok(name);
        }
        if text.starts_with('/') && !text.split('/').any(|part| part == "..") {
            let device =
                ["/dev/", "/sys/"].iter().any(|place| text.len() > place.len() && text.starts_with(place));
            return format!("{}.{}", escape_path(text), if device { "device" } else { "mount" }).parse();
        }
        let mut name = String::new();
        for byte in text.bytes() {
            match byte {
                b'/' => name.push('-'),
                _ if byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte) => name.push(byte.into()),
                _ => name.push_str(&format!("\\x{byte:02x}")),
            }
        }
        if name.is_empty() {
            name.parse()
        } else {
            name.parse().or_else(|_| format!("{name}.service").parse())
        }
    }
}

impl FromStr for UnitName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > 255 {
            return Err(NameError::Length(text.chars().take(40).collect()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        if !text.chars().all(allowed) {
            return Err(NameError::Character(text.to_owned()));
        }
        let (stem, suffix) = text.rsplit_once('.').ok_or_else(|| NameError::Suffix(text.to_owned()))?;
        let kind = UnitKind::from_suffix(suffix).ok_or_else(|| NameError::Suffix(text.to_owned()))?;
        if stem.is_empty() || stem.starts_with('@') {
            return Err(NameError::Prefix(text.to_owned()));
        }
        Ok(Self { full: text.to_owned(), kind })
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

impl fmt::Debug for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

/// Escapes a text for a place in a unit name: `/` becomes `-`, odd bytes `\xNN`.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if index == 0 => escaped.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("\\x{byte:02x}")),
        }
    }
    escaped
}

/// Undoes [`escape`]; odd escapes stay as they are.
#[must_use]
pub fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let hex = rest.strip_prefix("\\x").and_then(|r| r.get(..2));
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &rest[4..];
            continue;
        }
        let plain = if c == '-' { '/' } else { c };
        bytes.extend_from_slice(plain.to_string().as_bytes());
        rest = &rest[c.len_utf8()..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The unit-name form of an absolute path without `..`: `/` is `-`, `/a/b` is `a-b`.
#[must_use]
pub fn escape_path(path: &str) -> String {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() { "-".into() } else { escape(&parts.join("/")) }
}

/// Undoes [`escape_path`].
#[must_use]
pub fn unescape_path(name: &str) -> String {
    if name == "-" { "/".into() } else { format!("/{}", unescape(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_names() {
        let name: UnitName = "web@a@b.service".parse().expect("valid");
        assert_eq!((name.prefix(), name.instance(), name.stem()), ("web", Some("a@b"), "web@a@b"));
        assert_eq!(name.template().expect("instance").as_str(), "web@.service");
        let template: UnitName = "web@.service".parse().expect("valid");
        assert!(template.is_template() && template.template().is_none());
        assert_eq!(template.instantiate("x").as_str(), "web@x.service");
        let plain: UnitName = "a.b.timer".parse().expect("valid");
        assert_eq!((plain.stem(), plain.instance(), plain.kind()), ("a.b", None, UnitKind::Timer));
    }

    #[test]
    fn bad_names() {
        for bad in ["", "x", ".service", "@a.service", "a b.service", "a/b.service", "a.exe"] {
            assert!(bad.parse::<UnitName>().is_err(), "{bad}");
        }
        assert_eq!(UnitName::from_operator("web@1").expect("valid").as_str(), "web@1.service");
        assert_eq!(UnitName::from_operator("a.socket").expect("valid").kind(), UnitKind::Socket);
    }

    #[test]
    fn paths_escape_and_back() {
        for (path, name) in
            [("/", "-"), ("/var/lib", "var-lib"), ("/a-b/.c", "a\\x2db-.c"), ("/.x", "\\x2ex")]
        {
            assert_eq!(escape_path(path), name);
            assert_eq!(unescape_path(name), path);
        }
        assert_eq!(unescape("a\\x2Db"), "a-b");
    }
}
