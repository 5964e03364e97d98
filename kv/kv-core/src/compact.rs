//! Forgetting history. The log says from where on history is kept; each member removes the rest in small steps,
//! when it has time. How far it got changes no answer.

use std::io;

use bytes::Bytes;
use kv_api::{ErrorKind, etcdserverpb::CompactionResponse};

use crate::{
    Failure, State,
    layout::{self, At, Obsolete, Record},
};

impl State {
    pub(crate) fn compact(&mut self, revision: i64) -> Result<CompactionResponse, Failure> {
        // Nothing is forgotten by compacting at 0, as long as nothing was.
        if revision == 0 && self.view.compacted == 0 {
            return Ok(CompactionResponse { header: self.header() });
        }
        if revision <= self.view.compacted {
            return Err(ErrorKind::Compacted.into());
        }
        if revision > self.view.revision {
            return Err(ErrorKind::FutureRev.into());
        }
        self.view.compacted = revision;
        Ok(CompactionResponse { header: self.header() })
    }

    /// Removes up to `most` obsolete versions; answers whether there may be more.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn sweep(&mut self, most: usize) -> io::Result<bool> {
        let end = layout::obsolete(At { main: self.view.compacted + 1, sub: 0 });
        let view = self.view.clone();
        let mut swept = 0;
        let mut kept = None;
        let start = self.sweep_from.clone().max(Bytes::from_static(&[layout::OBSOLETE]));
        for entry in view.scan(&start, &end)? {
            let (key, bytes) = entry?;
            let at = layout::parse_stamp(&key)?;
            let obsolete = Obsolete::decode(&bytes)?;
            // A deletion at the very revision stays, for a watch that starts there.
            let keep_deletion = obsolete.deletion && at.main == view.compacted;
            if keep_deletion {
                kept.get_or_insert_with(|| key.clone());
                if obsolete.previous == At::default() {
                    continue;
                }
            }
            if swept == most {
                self.sweep_from = kept.unwrap_or(key);
                return Ok(true);
            }
            swept += 1;
            self.forget(&obsolete, obsolete.previous)?;
            if keep_deletion {
                self.set(key, Obsolete { previous: At::default(), ..obsolete }.encode());
                continue;
            }
            if obsolete.deletion {
                self.forget(&obsolete, at)?;
            }
            self.unset(key);
        }
        self.sweep_from = kept.unwrap_or(end);
        Ok(false)
    }

    fn forget(&mut self, obsolete: &Obsolete, at: At) -> io::Result<()> {
        let key = layout::record(at);
        if let Some(bytes) = self.view.get(&key)? {
            self.view.live -= Record::decode(at, &bytes)?.weight();
            self.unset(key);
            self.unset(layout::old(obsolete.space, &obsolete.key, at));
        }
        Ok(())
    }
}
