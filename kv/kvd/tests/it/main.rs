//! The real program, as its users meet it: etcdctl, curl's requests, kill -9.

mod cluster;
mod process;
mod transcript;
