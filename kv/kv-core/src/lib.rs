//! MVCC key-value state machine: first code follows.
