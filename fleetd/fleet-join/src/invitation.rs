//! An invitation of one machine, good once: what a machine that nobody can type to is given by its config.
//! Whoever reads it on the way may at most become that machine, before it does, which then shows.
//!
//! As of every token, the store holds the digest of the secret only.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::record::TokenRefusal;
use crate::{MemberRole, Secret};

/// What the store knows of an invitation; it lies under the digest of the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    /// The machine that is meant.
    #[serde(rename = "machineID")]
    pub machine_id: String,
    /// What it becomes.
    pub role: MemberRole,
    /// The names and addresses of its certificate, whatever it asks for.
    pub names: Vec<String>,
    /// Seconds since 1970 after which it is refused.
    pub expires: i64,
}

impl Invitation {
    /// Judges a machine that showed the secret.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, machine_id: &str, now: OffsetDateTime) -> Result<(), TokenRefusal> {
        if self.machine_id != machine_id {
            return Err(TokenRefusal::OtherMachine);
        }
        match OffsetDateTime::from_unix_timestamp(self.expires) {
            Ok(at) if at > now => Ok(()),
            _ => Err(TokenRefusal::expired(self.expires)),
        }
    }
}

impl Secret {
    /// SHA-256 of the secret, in hexadecimal digits: what the store may know.
    #[must_use]
    pub fn digest(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.0);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_for_one_machine_and_not_for_long() {
        let invitation = Invitation {
            machine_id: "m1".into(),
            role: MemberRole::Worker,
            names: vec!["metal1".into()],
            expires: 1_800_000_000,
        };
        let at = |second: i64| OffsetDateTime::from_unix_timestamp(second).expect("a time");
        assert_eq!(invitation.check("m1", at(1_799_999_999)), Ok(()));
        assert_eq!(invitation.check("m2", at(1_799_999_999)), Err(TokenRefusal::OtherMachine));
        let late = invitation.check("m1", at(1_800_000_000)).expect_err("late");
        assert!(late.to_string().contains("expired at 2027-01-15T08:00:00Z"), "{late}");
    }
}
