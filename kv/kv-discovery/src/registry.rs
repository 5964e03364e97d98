//! The tokens that a service keeps: who is registered under each, and which cluster size it is for.
//! Only values; time comes in as seconds.
//!
//! One token serves two protocols. CoreOS's discovery: `_config/size` says how many found a cluster,
//! each registers once under its member id, in an order that all see. Docker's swarm: a list of
//! `HOST:PORT`, where each entry is forgotten unless it is registered again in time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Tokens are forgotten after so many seconds.
const TOKEN_LIFE: u64 = 7 * 24 * 3600;
/// Docker's agents come back every 60 seconds.
pub(crate) const ENTRY_LIFE: u64 = 180;
const MOST_TOKENS: usize = 10_000;
const MOST_ENTRIES: usize = 1_000;
/// Largest cluster that can be founded at once, as at etcd's own service.
const MOST_MEMBERS: usize = 64;

/// All tokens.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Registry {
    index: u64,
    tokens: BTreeMap<String, Token>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Token {
    made: u64,
    size: Option<usize>,
    members: BTreeMap<String, Founder>,
    /// Entry to the second when it is forgotten; 0 is never.
    entries: BTreeMap<String, u64>,
}

/// One who founds a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founder {
    /// `NAME=URL,…`
    pub value: String,
    /// When it came, as a number that grows.
    pub created: u64,
}

/// Why a registry does not do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such token or key.
    #[error("Key not found")]
    NotFound,
    /// It is there already.
    #[error("Key already exists")]
    Exists,
    /// More than a registry keeps.
    #[error("this service keeps no more")]
    Full,
    /// Not a size, an entry or a value.
    #[error("the value is not valid")]
    Value,
}

impl Registry {
    /// Keeps a new token; `size` is how many found a cluster with it.
    ///
    /// # Errors
    /// Too many tokens, or a size that no cluster has.
    pub fn create(&mut self, token: String, size: Option<usize>, now: u64) -> Result<(), Refusal> {
        self.tokens.retain(|_, token| token.made + TOKEN_LIFE > now);
        if self.tokens.len() >= MOST_TOKENS {
            return Err(Refusal::Full);
        }
        if size.is_some_and(|size| size == 0 || size > MOST_MEMBERS) {
            return Err(Refusal::Value);
        }
        self.tokens.insert(token, Token { made: now, size, ..Token::default() });
        Ok(())
    }

    /// How many found a cluster with this token.
    ///
    /// # Errors
    /// No such token, or nobody said.
    pub fn size(&self, token: &str) -> Result<usize, Refusal> {
        self.tokens.get(token).and_then(|token| token.size).ok_or(Refusal::NotFound)
    }

    /// Says how many found a cluster, unless that was said before.
    ///
    /// # Errors
    /// It was, or there is no such token, or no such size.
    pub fn set_size(&mut self, token: &str, size: usize) -> Result<(), Refusal> {
        let token = self.tokens.get_mut(token).ok_or(Refusal::NotFound)?;
        match token.size {
            Some(_) => Err(Refusal::Exists),
            None if size == 0 || size > MOST_MEMBERS => Err(Refusal::Value),
            None => {
                token.size = Some(size);
                Ok(())
            }
        }
    }

    /// Registers a founder; the answer tells its place in the order.
    ///
    /// # Errors
    /// It is registered already, or there is no such token, or it is no founder.
    pub fn found(&mut self, token: &str, member: &str, value: &str) -> Result<Founder, Refusal> {
        let kept = self.tokens.get_mut(token).ok_or(Refusal::NotFound)?;
        if kept.members.contains_key(member) {
            return Err(Refusal::Exists);
        }
        if value.is_empty() || value.len() > 4096 || member.len() > 64 {
            return Err(Refusal::Value);
        }
        if kept.members.len() >= MOST_ENTRIES {
            return Err(Refusal::Full);
        }
        self.index += 1;
        let founder = Founder { value: value.to_owned(), created: self.index };
        kept.members.insert(member.to_owned(), founder.clone());
        Ok(founder)
    }

    /// Founders of a token by member id.
    ///
    /// # Errors
    /// No such token.
    pub fn founders(&self, token: &str) -> Result<&BTreeMap<String, Founder>, Refusal> {
        self.tokens.get(token).map(|token| &token.members).ok_or(Refusal::NotFound)
    }

    /// A number that grows with every founder.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Lists an entry for `life` seconds, or for as long as the token lives when that is 0.
    ///
    /// # Errors
    /// No such token, no entry, or too many.
    pub fn list(&mut self, token: &str, entry: &str, life: u64, now: u64) -> Result<(), Refusal> {
        let token = self.tokens.get_mut(token).ok_or(Refusal::NotFound)?;
        token.entries.retain(|_, until| *until == 0 || *until > now);
        let is_entry = entry
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !is_entry || entry.len() > 256 || entry.contains(|c: char| c == '/' || c.is_whitespace()) {
            return Err(Refusal::Value);
        }
        if token.entries.len() >= MOST_ENTRIES && !token.entries.contains_key(entry) {
            return Err(Refusal::Full);
        }
        token.entries.insert(entry.to_owned(), if life == 0 { 0 } else { now + life });
        Ok(())
    }

    /// Takes an entry off the list.
    ///
    /// # Errors
    /// It is not there.
    pub fn unlist(&mut self, token: &str, entry: &str) -> Result<(), Refusal> {
        let token = self.tokens.get_mut(token).ok_or(Refusal::NotFound)?;
        token.entries.remove(entry).map(drop).ok_or(Refusal::NotFound)
    }

    /// Who is listed now.
    ///
    /// # Errors
    /// No such token.
    pub fn listed(&self, token: &str, now: u64) -> Result<Vec<&str>, Refusal> {
        let token = self.tokens.get(token).ok_or(Refusal::NotFound)?;
        let live = token.entries.iter().filter(|(_, until)| **until == 0 || **until > now);
        Ok(live.map(|(entry, _)| entry.as_str()).collect())
    }

    /// Forgets a token with everything under it.
    ///
    /// # Errors
    /// There is no such token.
    pub fn remove(&mut self, token: &str) -> Result<(), Refusal> {
        self.tokens.remove(token).map(drop).ok_or(Refusal::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn founders_keep_their_order_and_come_once() {
        let mut registry = Registry::default();
        registry.create("t".into(), Some(2), 0).expect("made");
        assert_eq!(registry.size("t"), Ok(2));
        assert_eq!(registry.set_size("t", 3), Err(Refusal::Exists));
        let first = registry.found("t", "b", "b=u").expect("first").created;
        let second = registry.found("t", "a", "a=u").expect("second").created;
        assert!(first < second);
        assert_eq!(registry.found("t", "a", "a=u"), Err(Refusal::Exists));
        assert_eq!(registry.found("x", "a", "a=u"), Err(Refusal::NotFound));
    }

    #[test]
    fn entries_are_forgotten_in_time_and_tokens_too() {
        let mut registry = Registry::default();
        registry.create("t".into(), None, 0).expect("made");
        registry.list("t", "10.0.0.1:2375", ENTRY_LIFE, 0).expect("listed");
        registry.list("t", "10.0.0.2:2375", 0, 0).expect("listed");
        assert_eq!(registry.listed("t", 1).expect("there").len(), 2);
        assert_eq!(registry.listed("t", ENTRY_LIFE), Ok(vec!["10.0.0.2:2375"]));
        for bad in ["", "x", "a/b:1", "a b:1", "a:b"] {
            assert_eq!(registry.list("t", bad, 0, 0), Err(Refusal::Value), "{bad}");
        }
        registry.create("u".into(), None, TOKEN_LIFE).expect("made");
        assert_eq!(registry.listed("t", TOKEN_LIFE), Err(Refusal::NotFound));
    }
}
