//! Who belongs to the cluster, as clients see it. Who votes is the consensus layer's business, which follows this.

use std::io;

use bytes::Bytes;
use kv_api::{
    ErrorKind,
    etcdserverpb::{Member, MemberUpdateRequest},
};
use prost::Message as _;

use crate::{Failure, State, View, layout};

impl State {
    pub(crate) fn member_add(&mut self, member: &Member) -> Result<(), Failure> {
        if self.view.was_removed(member.id)? {
            return Err(ErrorKind::MemberNotFound.into());
        }
        let members = self.view.members()?;
        if members.iter().any(|other| other.id == member.id) {
            return Err(ErrorKind::MemberExist.into());
        }
        refuse_known_urls(&members, member.id, &member.peer_ur_ls)?;
        self.set_member(member);
        Ok(())
    }

    pub(crate) fn member_remove(&mut self, id: u64) -> Result<(), Failure> {
        self.view.member(id)?.ok_or(ErrorKind::MemberNotFound)?;
        self.unset(layout::numbered(layout::MEMBER, id as i64));
        self.set(layout::numbered(layout::REMOVED, id as i64), Bytes::new());
        Ok(())
    }

    pub(crate) fn member_update(&mut self, request: &MemberUpdateRequest) -> Result<(), Failure> {
        let mut member = self.view.member(request.id)?.ok_or(ErrorKind::MemberNotFound)?;
        refuse_known_urls(&self.view.members()?, request.id, &request.peer_ur_ls)?;
        member.peer_ur_ls.clone_from(&request.peer_ur_ls);
        self.set_member(&member);
        Ok(())
    }

    pub(crate) fn member_promote(&mut self, id: u64) -> Result<(), Failure> {
        let mut member = self.view.member(id)?.ok_or(ErrorKind::MemberNotFound)?;
        if !member.is_learner {
            return Err(ErrorKind::MemberNotLearner.into());
        }
        member.is_learner = false;
        self.set_member(&member);
        Ok(())
    }

    /// A member tells its name and where clients reach it.
    pub(crate) fn member_attributes(&mut self, told: &Member) -> Result<(), Failure> {
        let mut member = self.view.member(told.id)?.ok_or(ErrorKind::MemberNotFound)?;
        member.name.clone_from(&told.name);
        member.client_ur_ls.clone_from(&told.client_ur_ls);
        self.set_member(&member);
        Ok(())
    }

    /// The founding members, when the first membership of the log is applied. Removed ones stay removed.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn found(&mut self, members: impl IntoIterator<Item = Member>) -> io::Result<()> {
        for member in members {
            if self.view.member(member.id)?.is_none() && !self.view.was_removed(member.id)? {
                self.set_member(&member);
            }
        }
        Ok(())
    }

    fn set_member(&mut self, member: &Member) {
        self.set(layout::numbered(layout::MEMBER, member.id as i64), member.encode_to_vec().into());
    }
}

impl View {
    /// All members, by id.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn members(&self) -> io::Result<Vec<Member>> {
        let entries = self.scan(&[layout::MEMBER], &[layout::MEMBER + 1])?;
        entries.map(|entry| decode(&entry?.1)).collect()
    }

    /// The member with this id.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn member(&self, id: u64) -> io::Result<Option<Member>> {
        self.get(&layout::numbered(layout::MEMBER, id as i64))?.map(|bytes| decode(&bytes)).transpose()
    }

    /// Whether this id belonged to a member that was removed.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn was_removed(&self, id: u64) -> io::Result<bool> {
        Ok(self.get(&layout::numbered(layout::REMOVED, id as i64))?.is_some())
    }
}

fn refuse_known_urls(members: &[Member], id: u64, urls: &[String]) -> Result<(), Failure> {
    let known = members.iter().filter(|other| other.id != id).flat_map(|other| &other.peer_ur_ls);
    if known.into_iter().any(|url| urls.contains(url)) { Err(ErrorKind::PeerUrlExist.into()) } else { Ok(()) }
}

fn decode(bytes: &Bytes) -> io::Result<Member> {
    Member::decode(bytes.as_ref()).map_err(|_| layout::damaged("member"))
}
