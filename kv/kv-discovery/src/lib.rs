//! How machines find each other: one URL, five kinds of place.
//!
//! - `nodes://a:1,b:[2:4]`: these, ranges written out
//! - `file:///path`: one entry or range a line, `#` comments; read again at every look
//! - `token://HOST[:PORT]/ID`: a token service (`POST /v1/clusters`, then `GET` and `POST /v1/clusters/ID`); with
//!   `token://ID` the service is the one given as default
//! - `etcd://HOST,HOST/PREFIX`: keys under a prefix of an etcd or kvd
//!
//! [`Source::parse`] understands a URL, [`Source::entries`] looks, [`Source::register`] adds oneself. [`Service`] is a
//! token service of one's own. How a kvd
//! founds its own cluster over the v2 discovery protocol is in `kvd` itself. `consul://` and `zk://` are refused.

mod pattern;
mod registry;
mod service;
mod source;

pub use pattern::{PatternError, expand};
pub use registry::{Founder, Refusal, Registry};
pub use service::Service;
pub use source::{DiscoveryError, Source};
