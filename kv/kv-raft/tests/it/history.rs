//! What clients saw, and whether a single, sequential store could have shown it.
//!
//! Every reply carries a revision, so checking is exact and cheap: the writes of the final history, in order, are
//! the store; each acknowledged write must be in it, each read must see it as it was at its revision, and whatever
//! began after something ended must not have an earlier revision. Simulations and real processes are judged alike.

use std::{collections::BTreeMap, time::Duration};

#[derive(Debug, Clone)]
pub(crate) enum Saw {
    Wrote { key: String, value: String },
    Read { key: String, value: Option<String> },
}

#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// On one clock for all clients.
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
    pub(crate) revision: i64,
    pub(crate) saw: Saw,
}

/// Values by key and revision.
pub(crate) type Writes = BTreeMap<String, BTreeMap<i64, String>>;

/// Says what is wrong, if something is. `writes` is the history that the store ended with.
pub(crate) fn check(records: &[Record], writes: &Writes) -> Result<(), String> {
    let nothing = BTreeMap::new();
    for record in records {
        match &record.saw {
            Saw::Wrote { key, value } => {
                let found = writes.get(key).unwrap_or(&nothing).get(&record.revision);
                if found != Some(value) {
                    return Err(format!("an acknowledged write is lost: {record:?}, there is {found:?}"));
                }
            }
            Saw::Read { key, value } => {
                let then = writes.get(key).unwrap_or(&nothing).range(..=record.revision).next_back();
                if then.map(|(_, value)| value) != value.as_ref() {
                    return Err(format!("a read saw what never was: {record:?}, there was {then:?}"));
                }
            }
        }
    }
    in_real_time(records)
}

/// Nobody may see an earlier revision than one that was seen before he began.
fn in_real_time(records: &[Record]) -> Result<(), String> {
    let mut by_end: Vec<&Record> = records.iter().collect();
    by_end.sort_by_key(|record| record.ended);
    let mut by_begin: Vec<&Record> = records.iter().collect();
    by_begin.sort_by_key(|record| record.began);
    let mut ended = by_end.into_iter().peekable();
    let mut newest: Option<&Record> = None;
    for record in by_begin {
        while let Some(before) = ended.next_if(|before| before.ended < record.began) {
            if newest.is_none_or(|newest| newest.revision < before.revision) {
                newest = Some(before);
            }
        }
        if let Some(newest) = newest
            && record.revision < newest.revision
        {
            return Err(format!("a stale answer: {record:?} began after {newest:?} had ended"));
        }
    }
    Ok(())
}
