//! The firewall: one nftables table, described whole and replaced atomically.
//!
//! [`rules`] says which rules a set of networks, ports and links needs,
//! [`expression`] encodes them, [`transaction`] makes one netlink batch of them.
//! The chain `DOCKER-USER` is made once and never emptied: it is the users'.

mod expression;
mod monitor;
mod rules;
mod transaction;

use std::sync::Mutex;

use crate::error::NetError;
use crate::model::{Link, Network, PublishedPort};

pub use monitor::Monitor;
use rules::Chain;

/// The name of our table, in the families `ip` and `bridge`.
pub const TABLE: &str = "engine";
/// The users' own chain, run before ours for everything forwarded.
pub const USER_CHAIN: &str = "DOCKER-USER";

/// All that the firewall depends on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    pub networks: Vec<Network>,
    pub ports: Vec<PublishedPort>,
    pub links: Vec<Link>,
}

/// Keeps the kernel's table as the engine wants it.
#[derive(Debug, Default)]
pub struct Firewall {
    wanted: Mutex<Option<Vec<Chain>>>,
}

impl Firewall {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the table in one transaction. The same rules again cost nothing.
    pub fn apply(&self, rules: &Rules) -> Result<(), NetError> {
        // Compared as rules: a new container's address alone changes none.
        let chains = rules::chains(rules);
        let mut wanted = self.lock();
        if wanted.as_ref() == Some(&chains) {
            return Ok(());
        }
        transaction::replace(&chains)?;
        *wanted = Some(chains);
        Ok(())
    }

    /// Are all our rules still there? Somebody may have flushed them.
    pub fn intact(&self) -> Result<bool, NetError> {
        let wanted = self.lock();
        let Some(chains) = wanted.as_ref() else { return Ok(true) };
        let expected = chains.iter().map(|chain| chain.rules.len()).sum::<usize>();
        Ok(transaction::count_rules()? == expected)
    }

    /// Puts the table back if it is not what was applied last. True if it was not.
    pub fn heal(&self) -> Result<bool, NetError> {
        if self.intact()? {
            return Ok(false);
        }
        let wanted = self.lock();
        if let Some(chains) = wanted.as_ref() {
            transaction::replace(chains)?;
        }
        Ok(true)
    }

    /// Removes the table, users' chain included.
    pub fn remove(&self) -> Result<(), NetError> {
        *self.lock() = None;
        transaction::remove()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Vec<Chain>>> {
        self.wanted.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
