//! Applying operations. One call per operation of the log; refused operations change nothing.

use std::{io, sync::Arc};

use bytes::Bytes;
use kv_api::{
    ErrorKind, KeyRange,
    etcdserverpb::{
        AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DeleteRangeRequest, DeleteRangeResponse,
        PutRequest, PutResponse, ResponseHeader, alarm_request::AlarmAction,
    },
    internal::{Op, Reply, op::Op as Kind, reply::Reply as Answer},
};

use crate::{
    Backend, Change, Failure, Overlay, View,
    layout::{self, At, Generation, Obsolete, Record, Space},
    v2,
    view::pair,
};

/// The state that operations are applied to.
pub struct State {
    pub(crate) view: View,
    changes: Vec<Change>,
    /// The transaction being applied: where its next write goes.
    next: At,
    /// The space alarm is raised.
    full: bool,
    /// Nothing before this is left to sweep.
    pub(crate) sweep_from: Bytes,
    /// What the current operation wrote over, while it may have to be undone.
    undo: Option<Vec<(Bytes, Option<Option<Bytes>>)>>,
}

impl State {
    /// Goes on from what is stored; an empty base is a fresh store.
    ///
    /// # Errors
    /// When the storage fails or holds something that is not ours.
    pub fn open(base: Arc<dyn Backend>) -> io::Result<Self> {
        let number = |name: &str, fresh: i64| match base.get(&layout::meta(name))? {
            None => Ok(fresh),
            Some(bytes) => match <[u8; 8]>::try_from(bytes.as_ref()) {
                Ok(bytes) => Ok(i64::from_be_bytes(bytes)),
                Err(_) => Err(layout::damaged("number")),
            },
        };
        let (revision, compacted, live) = (number(REVISION, 1)?, number(COMPACTED, 0)?, number(LIVE, 0)?);
        let view = View { base, sealed: Overlay::new(), active: Overlay::new(), revision, compacted, live };
        let full = is_full(&view)?;
        let next = At { main: revision + 1, sub: 0 };
        Ok(Self { view, changes: Vec::new(), next, full, sweep_from: Bytes::new(), undo: None })
    }

    /// The state now. Stays as it is when the state moves on.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Performs an operation. `time_ms` is the proposer's clock, milliseconds since 1970.
    ///
    /// # Errors
    /// Only when the storage fails: the member must stop then. A refusal is a reply.
    pub fn apply(&mut self, op: Op, time_ms: i64) -> io::Result<Reply> {
        self.next = At { main: self.view.revision + 1, sub: 0 };
        let answer = match self.perform(op, time_ms) {
            Ok(answer) => answer,
            Err(Failure::Refused(kind)) => Answer::Error(kind.name().to_owned()),
            Err(Failure::Storage(error)) => return Err(error),
        };
        if self.next.sub > 0 {
            self.view.revision = self.next.main;
        }
        Ok(Reply { reply: Some(answer) })
    }

    fn perform(&mut self, op: Op, time_ms: i64) -> Result<Answer, Failure> {
        match op.op {
            None => Ok(Answer::Done(true)),
            Some(Kind::Put(request)) => Ok(Answer::Put(self.put(&request)?)),
            Some(Kind::DeleteRange(request)) => Ok(Answer::DeleteRange(self.delete_range(&request)?)),
            Some(Kind::Txn(request)) => Ok(Answer::Txn(self.txn(&request)?)),
            Some(Kind::Range(request)) => Ok(Answer::Range(self.view.range(&request)?)),
            Some(Kind::Compact(request)) => Ok(Answer::Compact(self.compact(request.revision)?)),
            Some(Kind::LeaseGrant(request)) => Ok(Answer::LeaseGrant(self.lease_grant(&request)?)),
            Some(Kind::LeaseRevoke(request)) => Ok(Answer::LeaseRevoke(self.lease_revoke(request.id)?)),
            Some(Kind::LeaseCheckpoint(request)) => {
                self.lease_checkpoint(&request)?;
                Ok(Answer::Done(true))
            }
            Some(Kind::Alarm(request)) => Ok(Answer::Alarm(self.alarm(&request)?)),
            Some(Kind::MemberSet(member)) => self.member_add(&member).map(done),
            Some(Kind::MemberRemove(id)) => self.member_remove(id).map(done),
            Some(Kind::MemberUpdate(request)) => self.member_update(&request).map(done),
            Some(Kind::MemberPromote(id)) => self.member_promote(id).map(done),
            Some(Kind::MemberAttributes(member)) => self.member_attributes(&member).map(done),
            Some(Kind::V2(request)) => {
                match self.all_or_nothing(|state| v2::apply(state, &request, time_ms)) {
                    Ok(json) => Ok(Answer::V2(json)),
                    Err(v2::Error::Refused(refusal)) => Ok(Answer::V2(refusal.to_json(self.view.revision))),
                    Err(v2::Error::Failed(failure)) => Err(failure),
                }
            }
        }
    }

    /// The changes since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Keeps a value of whoever drives the state, in the same snapshot as the state.
    pub fn set_meta(&mut self, name: &str, value: Bytes) {
        self.set(layout::meta(name), value);
    }

    /// Takes all changes since the last seal aside, to be stored by somebody; reads still see them. Until
    /// [`State::stored`] is called another seal adds to these.
    pub fn seal(&mut self) -> Overlay {
        for (name, value) in
            [(REVISION, self.view.revision), (COMPACTED, self.view.compacted), (LIVE, self.view.live)]
        {
            self.set_meta(name, Bytes::copy_from_slice(&value.to_be_bytes()));
        }
        let active = std::mem::take(&mut self.view.active);
        self.view.sealed = if self.view.sealed.is_empty() {
            active
        } else {
            active.into_iter().fold(std::mem::take(&mut self.view.sealed), |mut all, (key, value)| {
                all.insert(key, value);
                all
            })
        };
        self.view.sealed.clone()
    }

    /// The sealed changes are in this base now.
    pub fn stored(&mut self, base: Arc<dyn Backend>) {
        self.view.base = base;
        self.view.sealed = Overlay::new();
    }

    /// How many keys changed since the last seal.
    #[must_use]
    pub fn unsealed(&self) -> usize {
        self.view.active.len()
    }

    pub(crate) fn set(&mut self, key: Bytes, value: Bytes) {
        self.put_over(key, Some(value));
    }

    pub(crate) fn unset(&mut self, key: Bytes) {
        self.put_over(key, None);
    }

    fn put_over(&mut self, key: Bytes, value: Option<Bytes>) {
        match &mut self.undo {
            None => drop(self.view.active.insert(key, value)),
            Some(undo) => {
                let before = self.view.active.insert(key.clone(), value);
                undo.push((key, before));
            }
        }
    }

    /// Undoes what the current operation wrote, unless it succeeds.
    pub(crate) fn all_or_nothing<T, E>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let (live, next, changes) = (self.view.live, self.next, self.changes.len());
        self.undo = Some(Vec::new());
        let result = work(self);
        let undo = self.undo.take().unwrap_or_default();
        if result.is_err() {
            for (key, before) in undo.into_iter().rev() {
                match before {
                    Some(before) => drop(self.view.active.insert(key, before)),
                    None => drop(self.view.active.remove(&key)),
                }
            }
            (self.view.live, self.next) = (live, next);
            self.changes.truncate(changes);
        }
        result
    }

    /// The revision that reads inside the current transaction see.
    pub(crate) fn revision_within(&self) -> i64 {
        if self.next.sub > 0 { self.next.main } else { self.view.revision }
    }

    pub(crate) fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.revision_within(), ..Default::default() })
    }

    pub(crate) fn put(&mut self, request: &PutRequest) -> Result<PutResponse, Failure> {
        self.refuse_when_full()?;
        let before = self.view.current(Space::V3, &request.key)?;
        let mut lease = request.lease;
        let mut value = request.value.clone();
        if request.ignore_value || request.ignore_lease {
            let before = before.ok_or(ErrorKind::KeyNotFound)?;
            if request.ignore_value {
                value = self.view.record(before.at)?.value;
            }
            if request.ignore_lease {
                lease = before.lease;
            }
        }
        if lease != 0 && self.view.lease(lease)?.is_none() {
            return Err(ErrorKind::LeaseNotFound.into());
        }
        let prev_kv = match before {
            Some(before) if request.prev_kv => Some(pair(self.view.record(before.at)?)),
            _ => None,
        };
        self.write(Space::V3, request.key.clone(), value, lease, before);
        Ok(PutResponse { header: self.header(), prev_kv })
    }

    pub(crate) fn delete_range(
        &mut self,
        request: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Failure> {
        let keys = KeyRange::new(&request.key, &request.range_end);
        let mut found = Vec::new();
        self.view.each_generation(Space::V3, &keys, i64::MAX, &mut |key, generation| {
            found.push((key, generation));
            Ok(())
        })?;
        let mut reply = DeleteRangeResponse { deleted: found.len() as i64, ..Default::default() };
        for (key, generation) in found {
            if request.prev_kv {
                reply.prev_kvs.push(pair(self.view.record(generation.at)?));
            }
            self.delete(Space::V3, key, generation);
        }
        reply.header = self.header();
        Ok(reply)
    }

    /// Writes a new version of a key, whose newest generation so far is `before`.
    pub(crate) fn write(
        &mut self,
        space: Space,
        key: Bytes,
        value: Bytes,
        lease: i64,
        before: Option<Generation>,
    ) {
        let at = self.next;
        let generation = Generation {
            at,
            created: before.map_or(at.main, |before| before.created),
            version: before.map_or(1, |before| before.version + 1),
            lease,
        };
        let old_lease = before.map_or(0, |before| before.lease);
        if old_lease != lease {
            self.move_lease(&key, old_lease, lease);
        }
        self.set(layout::current(space, &key), generation.encode());
        self.keep(space, key, value, generation, before);
    }

    /// Writes that a live key is gone.
    pub(crate) fn delete(&mut self, space: Space, key: Bytes, before: Generation) {
        self.delete_saying(space, key, Bytes::new(), before);
    }

    /// Writes that a live key is gone, with something for history to keep.
    pub(crate) fn delete_saying(&mut self, space: Space, key: Bytes, saying: Bytes, before: Generation) {
        let generation = Generation { at: self.next, created: 0, version: 0, lease: 0 };
        if before.lease != 0 {
            self.move_lease(&key, before.lease, 0);
        }
        self.unset(layout::current(space, &key));
        self.set(layout::old(space, &key, generation.at), generation.encode());
        self.keep(space, key, saying, generation, Some(before));
    }

    /// Records a write in history, and what it made obsolete.
    fn keep(
        &mut self,
        space: Space,
        key: Bytes,
        value: Bytes,
        generation: Generation,
        before: Option<Generation>,
    ) {
        let at = generation.at;
        let previous = before.map(|before| before.at).unwrap_or_default();
        if let Some(before) = before {
            self.set(layout::old(space, &key, before.at), before.encode());
            let obsolete = Obsolete { space, key: key.clone(), previous, deletion: generation.is_deletion() };
            self.set(layout::obsolete(at), obsolete.encode());
        }
        let record = Record { space, generation, previous, key, value };
        self.view.live += record.weight();
        self.set(layout::record(at), record.encode());
        self.changes.push(Change::new(record));
        self.next.sub += 1;
    }

    fn move_lease(&mut self, key: &[u8], from: i64, to: i64) {
        if from != 0 {
            self.unset(layout::lease_key(from, key));
        }
        if to != 0 {
            self.set(layout::lease_key(to, key), Bytes::new());
        }
    }

    /// While the space alarm is raised nothing may grow.
    pub(crate) fn refuse_when_full(&self) -> Result<(), Failure> {
        if self.full { Err(ErrorKind::NoSpace.into()) } else { Ok(()) }
    }

    fn alarm(&mut self, request: &AlarmRequest) -> Result<AlarmResponse, Failure> {
        let raised = self.view.alarms()?;
        let matches = |alarm: &AlarmMember| {
            (request.alarm() == AlarmType::None || alarm.alarm == request.alarm)
                && (request.member_id == 0 || alarm.member_id == request.member_id)
        };
        let mut alarms: Vec<AlarmMember> = raised.into_iter().filter(matches).collect();
        match request.action() {
            AlarmAction::Get => {}
            AlarmAction::Activate => {
                if request.alarm() != AlarmType::None {
                    self.set(layout::alarm(request.alarm, request.member_id), Bytes::new());
                    alarms = vec![AlarmMember { member_id: request.member_id, alarm: request.alarm }];
                }
            }
            AlarmAction::Deactivate => {
                for alarm in &alarms {
                    self.unset(layout::alarm(alarm.alarm, alarm.member_id));
                }
            }
        }
        self.full = is_full(&self.view)?;
        Ok(AlarmResponse { header: None, alarms })
    }
}

fn is_full(view: &View) -> io::Result<bool> {
    Ok(view.alarms()?.iter().any(|raised| raised.alarm() == AlarmType::Nospace))
}

impl View {
    /// The alarms that are raised.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn alarms(&self) -> io::Result<Vec<AlarmMember>> {
        let mut alarms = Vec::new();
        for entry in self.scan(&[layout::ALARM], &[layout::ALARM + 1])? {
            let (key, _) = entry?;
            let (Some(kind), Some(member)) = (key.get(1..5), key.get(5..13)) else {
                return Err(layout::damaged("alarm"));
            };
            alarms.push(AlarmMember {
                alarm: i32::from_be_bytes(kind.try_into().expect("four bytes")),
                member_id: u64::from_be_bytes(member.try_into().expect("eight bytes")),
            });
        }
        Ok(alarms)
    }
}

fn done((): ()) -> Answer {
    Answer::Done(true)
}

const REVISION: &str = "revision";
const COMPACTED: &str = "compacted";
const LIVE: &str = "live";
