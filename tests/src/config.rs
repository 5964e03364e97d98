//! Ignition configs, put together as tests need them.

use serde_json::{Value, json};

/// A config of spec 3.3.0 that grows.
#[derive(Clone, Debug)]
pub struct Config(Value);

impl Default for Config {
    fn default() -> Self {
        Self(json!({
            "ignition": { "version": "3.3.0" },
            "passwd": { "users": [] },
            "storage": { "files": [] },
            "systemd": { "units": [] },
        }))
    }
}

impl Config {
    /// Lets the owner of this key in as `core` and as `root`.
    #[must_use]
    pub fn key(self, public: &str) -> Self {
        let user = |name: &str| json!({ "name": name, "sshAuthorizedKeys": [public.trim()] });
        self.push("/passwd/users", user("core")).push("/passwd/users", user("root"))
    }

    /// Has a file.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, text: &str) -> Self {
        self.owned_file(path, mode, text, &json!({}))
    }

    /// Has a file whose owners are the `user` and `group` of `owner`.
    #[must_use]
    pub fn owned_file(self, path: &str, mode: u32, text: &str, owner: &Value) -> Self {
        let contents = json!({ "source": data_url(text) });
        let mut file = json!({ "path": path, "mode": mode, "overwrite": true, "contents": contents });
        for key in ["user", "group"] {
            if let Some(value) = owner.get(key) {
                file[key] = value.clone();
            }
        }
        self.push("/storage/files", file)
    }

    /// Has a unit, and enables it if it can be.
    #[must_use]
    pub fn unit(self, name: &str, text: &str) -> Self {
        let mut unit = json!({ "name": name, "contents": text });
        if text.contains("[Install]") {
            unit["enabled"] = json!(true);
        }
        self.push("/systemd/units", unit)
    }

    /// Enables a unit of the image.
    #[must_use]
    pub fn enable(self, name: &str) -> Self {
        self.push("/systemd/units", json!({ "name": name, "enabled": true }))
    }

    /// Sets anything else, by its JSON pointer; the parent must be there.
    #[must_use]
    pub fn set(mut self, parent: &str, key: &str, value: Value) -> Self {
        self.0.pointer_mut(parent).expect("the parent is there")[key] = value;
        self
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{:#}\n", self.0)
    }

    /// Adds anything else to a list, by its JSON pointer.
    #[must_use]
    pub fn push(mut self, list: &str, value: Value) -> Self {
        let list = self.0.pointer_mut(list).and_then(Value::as_array_mut);
        list.expect("the list is there").push(value);
        self
    }
}

/// A text as a `data:` URL.
#[must_use]
pub fn data_url(text: &str) -> String {
    let mut url = "data:,".to_owned();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => url.push(byte.into()),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}
