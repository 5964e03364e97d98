//! Tests of the replicated log: openraft's own suite, and simulated clusters by seed.

mod cluster;
mod history;
mod simulation;
mod suite;
