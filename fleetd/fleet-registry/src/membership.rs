//! Who may join, who has joined, who was removed.

use fleet_join::{Invitation, Issued, Member, MemberRole, Secret, TokenRecord};
use kv_client::{Txn, compare, op};

use crate::registry::{json, read};
use crate::{Key, Registry, RegistryError};

/// How often a removal is tried against renewals.
const TRIES: u32 = 4;

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

    /// Invites a machine, and takes back what invited it before and what is too old (`now`: seconds since
    /// 1970).
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn invite(
        &self,
        secret: &Secret,
        invitation: &Invitation,
        now: i64,
    ) -> Result<(), RegistryError> {
        let all = self.client.get_prefix(self.keys.invitations()).await?;
        let is_over = |old: &Invitation| old.machine_id == invitation.machine_id || old.expires <= now;
        let over = all.kvs.iter().filter(|pair| read(pair).as_ref().is_none_or(is_over));
        let mut ops: Vec<_> = over.map(|pair| op::delete(pair.key.clone())).collect();
        ops.truncate(crate::schedule::OPS_PER_TXN);
        ops.push(op::put(self.keys.text(&Key::Invitation(secret.digest())), json(invitation)));
        self.client.txn(Txn::new().then(ops)).await?;
        Ok(())
    }

    /// The invitation that a secret belongs to, and the revision that it came with.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn invitation(&self, secret: &Secret) -> Result<Option<(Invitation, i64)>, RegistryError> {
        let pair = self.client.get(self.keys.text(&Key::Invitation(secret.digest()))).await?;
        Ok(pair.and_then(|pair| Some((read(&pair)?, pair.mod_revision))))
    }

    /// Uses an invitation up; tells whether nobody else was faster.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn use_invitation(&self, secret: &Secret, revision: i64) -> Result<bool, RegistryError> {
        let key = self.keys.text(&Key::Invitation(secret.digest()));
        let txn = Txn::new().when([compare::modified_at(key.clone(), revision)]).then([op::delete(key)]);
        Ok(self.client.txn(txn).await?.succeeded)
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

    /// Notes a certificate that a member holds, if it is not known yet: one that rmachine made, say.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn note_certificate(
        &self,
        member: Member,
        issued: Issued,
        now: i64,
    ) -> Result<(), RegistryError> {
        let known = self.client.get(self.keys.text(&Key::Member(member.machine_id.clone()))).await?;
        let known: Option<Member> = known.as_ref().and_then(read);
        if known.as_ref().is_some_and(|known| known.certificates.contains(&issued)) {
            return Ok(());
        }
        let certificates = known.map(|known| known.certificates).unwrap_or_default();
        // Who was removed meanwhile stays so.
        self.put_member(&Member { certificates, ..member }.holding(issued, now), false).await.map(drop)
    }

    /// Lets a machine that was removed register again. Its certificates stay revoked.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn forgive(&self, id: &str) -> Result<(), RegistryError> {
        self.client.delete(self.keys.text(&Key::Removed(id.to_owned()))).await?;
        Ok(())
    }

    /// Certificates that are good no more, and the store's revision.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn revoked(&self) -> Result<(Vec<Issued>, i64), RegistryError> {
        let answer = self.client.get_prefix(self.keys.revoked()).await?;
        let revision = answer.header.map_or(0, |header| header.revision);
        Ok((answer.kvs.iter().filter_map(read).collect(), revision))
    }

    /// Removes a machine: it registers no more, its units run elsewhere, its settings are forgotten, its
    /// certificates are revoked.
    ///
    /// # Errors
    /// The store does not answer, or the machine is given certificates all the time.
    pub async fn remove_machine(&self, id: &str) -> Result<(), RegistryError> {
        let text = |key: Key| self.keys.text(&key);
        let member_key = text(Key::Member(id.to_owned()));
        for _ in 0..TRIES {
            let pair = self.client.get(member_key.clone()).await?;
            let revision = pair.as_ref().map_or(0, |pair| pair.mod_revision);
            let member: Option<Member> = pair.as_ref().and_then(read);
            let metadata = format!("{}metadata/", self.keys.settings_of(id));
            let mut ops = vec![
                op::put(text(Key::Removed(id.to_owned())), "removed"),
                op::delete(text(Key::Machine(id.to_owned()))),
                op::delete(member_key.clone()),
                op::delete(text(Key::Drain(id.to_owned()))),
                op::delete_prefix(metadata),
                op::delete_prefix(self.keys.states_of(id)),
            ];
            let certificates = member.into_iter().flat_map(|member| member.certificates);
            ops.extend(certificates.map(|it| op::put(text(Key::Revoked(it.serial.clone())), json(&it))));
            let txn = Txn::new().when([compare::modified_at(member_key.clone(), revision)]).then(ops);
            if self.client.txn(txn).await?.succeeded {
                return Ok(());
            }
        }
        Err(RegistryError::Contended { what: format!("machine {id}") })
    }
}
