//! The public behaviour of this crate: verdicts over a corpus, laws of merging, and a parser that never
//! panics.

mod corpus;
mod laws;
mod truncation;
