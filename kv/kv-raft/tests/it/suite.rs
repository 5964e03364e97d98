//! openraft's own suite for storages, on our log and state machine.

use std::sync::Arc;

use kv_raft::{LogStore, Machine, Mode, TypeConfig};
use kv_store::{MemoryStore, RedbStore};
use kv_wal::{Options, RealDisk, Wal, sim::SimDisk};
use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};

struct OnDisk;

impl StoreBuilder<TypeConfig, LogStore, Machine, tempfile::TempDir> for OnDisk {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().expect("temporary directory");
        let disk = RealDisk::new(&dir.path().join("wal")).expect("made");
        let wal = Wal::open(Arc::new(disk), Options { segment_bytes: 64 << 10 }).expect("fresh");
        let log = LogStore::open(wal, Mode::Thread).expect("fresh");
        let store = RedbStore::open(&dir.path().join("state"), 1 << 20).expect("fresh");
        let machine = Machine::open(Arc::new(store)).expect("fresh");
        Ok((dir, log, machine))
    }
}

struct InMemory;

impl StoreBuilder<TypeConfig, LogStore, Machine, ()> for InMemory {
    async fn build(&self) -> Result<((), LogStore, Machine), StorageError<TypeConfig>> {
        let wal = Wal::open(Arc::new(SimDisk::default()), Options { segment_bytes: 4096 }).expect("fresh");
        let log = LogStore::open(wal, Mode::Inline).expect("fresh");
        Ok(((), log, Machine::open(Arc::new(MemoryStore::default())).expect("fresh")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openrafts_suite_passes_on_disk() {
    Suite::test_all(OnDisk).await.expect("as openraft demands");
}

#[tokio::test(flavor = "multi_thread")]
async fn openrafts_suite_passes_in_memory() {
    Suite::test_all(InMemory).await.expect("as openraft demands");
}
