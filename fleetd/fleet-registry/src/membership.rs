//! Who may join, who has joined, who was removed.

use fleet_join::{Member, MemberRole, TokenRecord};
use kv_client::{Txn, compare, op};

use crate::registry::{json, read};
use crate::{Key, Registry, RegistryError};

impl Registry {
    /// The present token of a role, and the revision that it came with (0 when there is none).
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn token(&self, role: MemberRole) -> Result<(Option<TokenRecord>, i64), RegistryError> {
        let pair = self.client.get(self.keys.text(&Key::Token(role.to_string()))).await?;
        Ok((pair.as_ref().and_then(read), pair.as_ref().map_or(0, |pair| pair.mod_revision)))
    }

    /// Puts a token in place of the one of that revision; tells whether nobody else was faster.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn put_token(
        &self,
        role: MemberRole,
        record: &TokenRecord,
        instead_of: i64,
    ) -> Result<bool, RegistryError> {
        let key = self.keys.text(&Key::Token(role.to_string()));
        let txn = Txn::new().when([compare::modified_at(key.clone(), instead_of)]);
        Ok(self.client.txn(txn.then([op::put(key, json(record))])).await?.succeeded)
    }

    /// All machines that were let in.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn members(&self) -> Result<Vec<Member>, RegistryError> {
        let answer = self.client.get_prefix(self.keys.members()).await?;
        Ok(answer.kvs.iter().filter_map(read).collect())
    }

    /// Lets a machine in, or notes its next certificate. One that was removed is forgiven only if
    /// `again`; tells whether it is in.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn put_member(&self, member: &Member, again: bool) -> Result<bool, RegistryError> {
        let removed = self.keys.text(&Key::Removed(member.machine_id.clone()));
        let put = op::put(self.keys.text(&Key::Member(member.machine_id.clone())), json(member));
        let txn = if again {
            Txn::new().then([put, op::delete(removed)])
        } else {
            Txn::new().when([compare::absent(removed)]).then([put])
        };
        Ok(self.client.txn(txn).await?.succeeded)
    }

    /// Was this machine removed?
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn is_removed(&self, id: &str) -> Result<bool, RegistryError> {
        Ok(self.client.get(self.keys.text(&Key::Removed(id.to_owned()))).await?.is_some())
    }

    /// Is this machine there now?
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn is_alive(&self, id: &str) -> Result<bool, RegistryError> {
        Ok(self.client.get(self.keys.text(&Key::Machine(id.to_owned()))).await?.is_some())
    }

    /// Removes a machine: it registers no more, its units run elsewhere, its settings are forgotten.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn remove_machine(&self, id: &str) -> Result<(), RegistryError> {
        let text = |key: Key| self.keys.text(&key);
        let metadata = format!("{}metadata/", self.keys.settings_of(id));
        let ops = [
            op::put(text(Key::Removed(id.to_owned())), "removed"),
            op::delete(text(Key::Machine(id.to_owned()))),
            op::delete(text(Key::Member(id.to_owned()))),
            op::delete(text(Key::Drain(id.to_owned()))),
            op::delete_prefix(metadata),
            op::delete_prefix(self.keys.states_of(id)),
        ];
        self.client.txn(Txn::new().then(ops)).await?;
        Ok(())
    }
}
