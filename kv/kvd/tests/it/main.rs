//! The real program, as its users meet it: etcdctl, curl's requests, kill -9.

mod calls;
mod cluster;
mod golden;
#[path = "../../../kv-raft/tests/it/history.rs"]
mod history;
mod network;
mod options;
mod parted;
mod plain;
mod process;
mod storm;
mod streams;
mod transcript;
