//! Tests of the replicated log: openraft's own suite, simulated clusters by seed, and planted bugs that they notice.

mod cluster;
mod history;
mod simulation;
mod storm;
mod suite;
