//! The names of keys, written and read in one place.

use fleet_unit::UnitName;

/// fleet's own prefix.
pub const DEFAULT_PREFIX: &str = "/_coreos.com/fleet";

/// Makes keys below a prefix and takes them apart.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

/// What a key is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// `unit/NAME`
    Unit(UnitName),
    /// `global/NAME`
    Global(UnitName),
    /// `schedule/MACHINE/NAME`
    Schedule(String, UnitName),
    /// `machine/ID`
    Machine(String),
    /// `state/MACHINE/NAME`
    State(String, UnitName),
    /// `setting/ID/metadata/KEY`
    Metadata(String, String),
    /// `setting/ID/drain`
    Drain(String),
    /// `setting/ID/removed`
    Removed(String),
    /// `join/token/ROLE`
    Token(String),
    /// `join/invitation/DIGEST`
    Invitation(String),
    /// `join/member/ID`
    Member(String),
    /// `join/revoked/SERIAL`
    Revoked(String),
}

impl Keys {
    /// Keys below `prefix`; a slash at its end does not matter.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: format!("{}/", prefix.trim_end_matches('/')) }
    }

    /// What all keys begin with.
    #[must_use]
    pub fn all(&self) -> &str {
        &self.prefix
    }

    /// All units.
    #[must_use]
    pub fn units(&self) -> String {
        format!("{}unit/", self.prefix)
    }

    /// All units that run everywhere.
    #[must_use]
    pub fn globals(&self) -> String {
        format!("{}global/", self.prefix)
    }

    /// What one machine is to run.
    #[must_use]
    pub fn schedule_of(&self, machine: &str) -> String {
        format!("{}schedule/{machine}/", self.prefix)
    }

    /// What all machines are to run.
    #[must_use]
    pub fn schedule(&self) -> String {
        format!("{}schedule/", self.prefix)
    }

    /// All machines.
    #[must_use]
    pub fn machines(&self) -> String {
        format!("{}machine/", self.prefix)
    }

    /// All states.
    #[must_use]
    pub fn states(&self) -> String {
        format!("{}state/", self.prefix)
    }

    /// The states of one machine.
    #[must_use]
    pub fn states_of(&self, machine: &str) -> String {
        format!("{}state/{machine}/", self.prefix)
    }

    /// What was set for a machine at run time.
    #[must_use]
    pub fn settings_of(&self, machine: &str) -> String {
        format!("{}setting/{machine}/", self.prefix)
    }

    /// All machines that were let in.
    #[must_use]
    pub fn members(&self) -> String {
        format!("{}join/member/", self.prefix)
    }

    /// All invitations that nobody used yet.
    #[must_use]
    pub fn invitations(&self) -> String {
        format!("{}join/invitation/", self.prefix)
    }

    /// Certificates that were revoked.
    #[must_use]
    pub fn revoked(&self) -> String {
        format!("{}join/revoked/", self.prefix)
    }

    /// The election of the scheduler.
    #[must_use]
    pub fn scheduler(&self) -> String {
        format!("{}scheduler", self.prefix)
    }

    /// The text of a key.
    #[must_use]
    pub fn text(&self, key: &Key) -> String {
        let prefix = &self.prefix;
        match key {
            Key::Unit(name) => format!("{prefix}unit/{name}"),
            Key::Global(name) => format!("{prefix}global/{name}"),
            Key::Schedule(machine, name) => format!("{prefix}schedule/{machine}/{name}"),
            Key::Machine(id) => format!("{prefix}machine/{id}"),
            Key::State(machine, name) => format!("{prefix}state/{machine}/{name}"),
            Key::Metadata(id, key) => format!("{prefix}setting/{id}/metadata/{key}"),
            Key::Drain(id) => format!("{prefix}setting/{id}/drain"),
            Key::Removed(id) => format!("{prefix}setting/{id}/removed"),
            Key::Token(role) => format!("{prefix}join/token/{role}"),
            Key::Invitation(digest) => format!("{prefix}join/invitation/{digest}"),
            Key::Member(id) => format!("{prefix}join/member/{id}"),
            Key::Revoked(serial) => format!("{prefix}join/revoked/{serial}"),
        }
    }

    /// What a key is about; nothing for keys of others.
    #[must_use]
    pub fn parse(&self, key: &[u8]) -> Option<Key> {
        let text = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        let (kind, rest) = text.split_once('/')?;
        let pair = || rest.split_once('/');
        Some(match kind {
            "unit" => Key::Unit(rest.parse().ok()?),
            "global" => Key::Global(rest.parse().ok()?),
            "schedule" => Key::Schedule(pair()?.0.to_owned(), pair()?.1.parse().ok()?),
            "machine" => Key::Machine(rest.to_owned()),
            "state" => Key::State(pair()?.0.to_owned(), pair()?.1.parse().ok()?),
            "setting" => match pair()? {
                (id, "drain") => Key::Drain(id.to_owned()),
                (id, "removed") => Key::Removed(id.to_owned()),
                (id, setting) => Key::Metadata(id.to_owned(), setting.strip_prefix("metadata/")?.to_owned()),
            },
            "join" => match pair()? {
                ("token", role) => Key::Token(role.to_owned()),
                ("invitation", digest) => Key::Invitation(digest.to_owned()),
                ("member", id) => Key::Member(id.to_owned()),
                ("revoked", serial) => Key::Revoked(serial.to_owned()),
                _ => return None,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let keys = Keys::new("/x/");
        let name: UnitName = "web@1.service".parse().expect("a valid name");
        for key in [
            Key::Unit(name.clone()),
            Key::Global(name.clone()),
            Key::Schedule("m1".into(), name.clone()),
            Key::Machine("m1".into()),
            Key::State("m1".into(), name),
            Key::Metadata("m1".into(), "region".into()),
            Key::Drain("m1".into()),
            Key::Removed("m1".into()),
            Key::Token("worker".into()),
            Key::Invitation("0123".into()),
            Key::Member("m1".into()),
            Key::Revoked("0a0b".into()),
        ] {
            assert_eq!(keys.parse(keys.text(&key).as_bytes()), Some(key));
        }
        assert_eq!(keys.parse(b"/y/unit/a.service"), None);
        assert_eq!(keys.parse(b"/x/unit/nonsense"), None);
        assert_eq!(keys.parse(b"/x/scheduler/1234"), None);
    }
}
