//! Short ways to build a config in code, for the programs that write them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Config, Dropin, File, Link, PasswdUser, Resource, Unit};

impl Config {
    /// The config as Ignition JSON, indented, with a newline at its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("a config has only strings and numbers");
        json.push('\n');
        json
    }
}

impl Resource {
    /// A `data:` URL that holds the bytes.
    #[must_use]
    pub fn inline(bytes: impl AsRef<[u8]>) -> Self {
        Self { source: Some(format!("data:;base64,{}", STANDARD.encode(bytes))), ..Self::default() }
    }

    /// A URL to fetch.
    #[must_use]
    pub fn url(url: impl Into<String>) -> Self {
        Self { source: Some(url.into()), ..Self::default() }
    }
}

impl File {
    /// A file of root with that mode and content, in the place of what is there.
    #[must_use]
    pub fn inline(path: impl Into<String>, mode: u16, content: impl AsRef<[u8]>) -> Self {
        Self {
            path: path.into(),
            mode: Some(i64::from(mode)),
            overwrite: Some(true),
            contents: Resource::inline(content),
            ..Self::default()
        }
    }
}

impl Link {
    /// A symbolic link of root, in the place of what is there.
    #[must_use]
    pub fn symbolic(path: impl Into<String>, target: impl Into<String>) -> Self {
        Self { path: path.into(), target: Some(target.into()), overwrite: Some(true), ..Self::default() }
    }
}

impl Unit {
    /// An enabled unit with that text.
    #[must_use]
    pub fn enabled(name: impl Into<String>, contents: impl Into<String>) -> Self {
        Self { name: name.into(), contents: Some(contents.into()), enabled: Some(true), ..Self::default() }
    }

    /// The same unit with one drop-in more.
    #[must_use]
    pub fn dropin(mut self, name: impl Into<String>, contents: impl Into<String>) -> Self {
        self.dropins.push(Dropin { name: name.into(), contents: Some(contents.into()) });
        self
    }
}

impl PasswdUser {
    /// A user with these ssh keys.
    #[must_use]
    pub fn with_keys<K: Into<String>>(name: impl Into<String>, keys: impl IntoIterator<Item = K>) -> Self {
        Self {
            name: name.into(),
            ssh_authorized_keys: keys.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}
