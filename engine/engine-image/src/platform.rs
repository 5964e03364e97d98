//! Which machine an image is for.

use serde::{Deserialize, Serialize};

use crate::error::{ImageError, Result};

/// Operating system, architecture, variant, as in image indexes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub architecture: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Operating systems that a platform of one word may name.
const SYSTEMS: [&str; 8] =
    ["android", "darwin", "dragonfly", "freebsd", "netbsd", "openbsd", "solaris", "windows"];
const ARCHITECTURES: [&str; 16] = [
    "386", "amd64", "amd64p32", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
    "ppc64le", "riscv", "riscv64", "s390x", "wasm",
];

impl Platform {
    /// This machine.
    pub fn here() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", "v8"),
            "x86" => ("386", ""),
            "arm" => ("arm", "v7"),
            other => (other, ""),
        };
        Self { os: "linux".into(), architecture: architecture.into(), variant: variant.into() }
    }

    /// Reads `os/arch[/variant]`, `arch` or `os`.
    pub fn parse(text: &str) -> Result<Self> {
        let here = Self::here();
        let wrong = |what: String| Err(ImageError::Invalid(format!("{what}: invalid argument")));
        if let Some(part) = text.split('/').find(|part| part.is_empty() || !part.bytes().all(is_word)) {
            return wrong(format!(
                "{part:?} is an invalid component of {text:?}: platform specifier component must match \"^[A-Za-z0-9_-]+$\""
            ));
        }
        let parts: Vec<String> = text.split('/').map(str::to_ascii_lowercase).collect();
        if parts.len() > 3 {
            return wrong(format!("{text:?}: cannot parse platform specifier"));
        }
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_default();
        let platform = match (parts.next(), parts.next()) {
            (None, _) if first == "linux" => here,
            (None, _) if SYSTEMS.contains(&first.as_str()) => Self { os: first, ..here },
            (None, _) if !ARCHITECTURES.contains(&normal(&first)) => {
                return wrong(format!("{text:?}: unknown operating system or architecture"));
            }
            (None, _) => Self { os: here.os, architecture: normal(&first).into(), variant: String::new() },
            (Some(architecture), variant) => Self {
                os: first,
                architecture: normal(&architecture).into(),
                variant: variant.unwrap_or_default(),
            },
        };
        Ok(platform)
    }

    /// Whether an image for `other` is what someone who wants `self` means.
    pub fn runs(&self, other: &Self) -> bool {
        let variant = |platform: &Self| match (platform.architecture.as_str(), platform.variant.as_str()) {
            ("arm64", "") => "v8".to_owned(),
            (_, variant) => variant.to_owned(),
        };
        self.os == other.os
            && self.architecture == other.architecture
            && (variant(self) == variant(other) || self.variant.is_empty() || other.variant.is_empty())
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn normal(architecture: &str) -> &str {
    match architecture {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" => "386",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_and_matched() {
        let platform = Platform::parse("linux/arm64").expect("fine");
        assert!(platform.runs(&Platform {
            os: "linux".into(),
            architecture: "arm64".into(),
            variant: "v8".into()
        }));
        assert!(!platform.runs(&Platform {
            os: "linux".into(),
            architecture: "amd64".into(),
            variant: String::new()
        }));
        for (text, said) in [
            (
                "linux//x",
                r#""" is an invalid component of "linux//x": platform specifier component must match "^[A-Za-z0-9_-]+$": invalid argument"#,
            ),
            ("a/b/c/d", r#""a/b/c/d": cannot parse platform specifier: invalid argument"#),
            ("x", r#""x": unknown operating system or architecture: invalid argument"#),
        ] {
            assert_eq!(Platform::parse(text).expect_err("wrong").to_string(), said);
        }
    }
}
