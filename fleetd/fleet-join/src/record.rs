//! What the store holds of a token: enough for any member to judge one that is shown, for nobody but
//! the authority's holder to show it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::seal::{SealError, open, seal};
use crate::{Authority, JoinToken, MemberRole, Secret};

/// Rotated tokens that are still told apart from invented ones.
const REMEMBERED: usize = 16;

/// A role's token in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// The secret, sealed under the authority's key.
    pub sealed: String,
    /// SHA-256 of the secret, in hexadecimal digits.
    pub digest: String,
    /// Seconds since 1970 after which it is refused; never when it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// Digests of those that it replaced, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<String>,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// It was never one of this cluster.
    #[error("the join token is wrong: its secret is not one of this cluster")]
    Unknown,
    /// It was one once.
    #[error("the join token was rotated and is no longer valid: ask an administrator for the present one")]
    Rotated,
    /// Its time is over.
    #[error("the join token expired at {0}: ask an administrator for a new one")]
    Expired(String),
    /// It invites one machine, and this is another.
    #[error("the join token invites another machine")]
    OtherMachine,
    /// It is another cluster's.
    #[error("the join token is of another cluster: its digest is not this authority's")]
    OtherCluster,
}

impl TokenRefusal {
    /// Its time was over at that second since 1970.
    pub(crate) fn expired(at: i64) -> Self {
        let at = OffsetDateTime::from_unix_timestamp(at).ok();
        let at = at.and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok());
        Self::Expired(at.unwrap_or_else(|| "a time that is over".into()))
    }
}

impl TokenRecord {
    /// A new token in place of `old`, if there is one. `random` must be fresh: the secret, then the nonce.
    #[must_use]
    pub fn create(
        authority: &Authority,
        role: MemberRole,
        random: [u8; 28],
        expires: Option<OffsetDateTime>,
        old: Option<&Self>,
    ) -> Self {
        let (secret, nonce) = random.split_at(16);
        let secret = Secret(secret.try_into().expect("16 of 28 bytes"));
        let nonce = nonce.try_into().expect("12 of 28 bytes");
        let mut retired: Vec<String> = Vec::new();
        if let Some(old) = old {
            retired.push(old.digest.clone());
            retired.extend(old.retired.iter().cloned());
            retired.truncate(REMEMBERED);
        }
        Self {
            sealed: seal(authority, role.as_str(), &secret.0, nonce),
            digest: secret.digest(),
            expires: expires.map(OffsetDateTime::unix_timestamp),
            retired,
        }
    }

    /// The token itself, for those who hold the authority's key.
    ///
    /// # Errors
    /// It was sealed under another key.
    pub fn reveal(&self, authority: &Authority, role: MemberRole) -> Result<JoinToken, SealError> {
        let secret = open(authority, role.as_str(), &self.sealed)?;
        Ok(authority.token(Secret(secret.try_into().map_err(|_| SealError)?)))
    }

    /// Judges a secret that was shown.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, secret: &Secret, now: OffsetDateTime) -> Result<(), TokenRefusal> {
        // Comparing digests gives away nothing about the secret, however long it takes.
        let shown = secret.digest();
        if shown != self.digest {
            let rotated = self.retired.contains(&shown);
            return Err(if rotated { TokenRefusal::Rotated } else { TokenRefusal::Unknown });
        }
        match self.expires.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok()) {
            Some(at) if at <= now => Err(TokenRefusal::expired(at.unix_timestamp())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time")
    }

    #[test]
    fn a_token_is_judged_by_anybody_and_shown_by_the_authority_only() {
        let authority = Authority::create("demo", now()).expect("an authority");
        let role = MemberRole::Worker;
        let record = TokenRecord::create(&authority, role, [7; 28], None, None);
        let token = record.reveal(&authority, role).expect("it opens");
        assert_eq!(record.check(&token.secret, now()), Ok(()));
        assert_eq!(record.check(&Secret([8; 16]), now()), Err(TokenRefusal::Unknown));
        assert!(!record.sealed.contains(&token.secret.text()));
        assert!(record.reveal(&authority, MemberRole::Manager).is_err(), "a seal is for one role");
        let other = Authority::create("demo", now()).expect("an authority");
        assert!(record.reveal(&other, role).is_err());
    }

    #[test]
    fn rotated_and_expired_tokens_are_told_from_wrong_ones() {
        let authority = Authority::create("demo", now()).expect("an authority");
        let role = MemberRole::Manager;
        let mut record = TokenRecord::create(&authority, role, [1; 28], None, None);
        let first = record.reveal(&authority, role).expect("it opens");
        for number in 2..40 {
            let expires = (number == 39).then(|| now() + Duration::hours(1));
            record = TokenRecord::create(&authority, role, [number; 28], expires, Some(&record));
        }
        let last = record.reveal(&authority, role).expect("it opens");
        assert_eq!(record.check(&Secret([38; 16]), now()), Err(TokenRefusal::Rotated));
        assert_eq!(record.check(&first.secret, now()), Err(TokenRefusal::Unknown), "forgotten by now");
        assert_eq!(record.check(&last.secret, now()), Ok(()));
        let refused = record.check(&last.secret, now() + Duration::hours(2)).expect_err("expired");
        assert!(refused.to_string().contains("expired at 2027-01-15T09:00:00Z"), "{refused}");
        let json = serde_json::to_string(&record).expect("serialises");
        assert_eq!(serde_json::from_str::<TokenRecord>(&json).expect("parses"), record);
    }
}
