//! The command line of the key-value store.
