//! Ignition configs, spec 3.0 to 3.5: parse, validate with line and column, merge and plan.
//!
//! Everything here is a function from values to values: no file, no network, no clock. What a config
//! asks for is done by `hostos-provision`; programs that write configs build [`Config`] and call
//! [`Config::to_json`].

pub mod data_url;
mod decode;
mod diagnostic;
mod json;
mod kernel_arguments;
mod merge;
mod parse;
mod plan;
mod schema;
mod support;
mod types;
mod validate;
mod version;

pub use diagnostic::{Diagnostic, Rejected, Severity};
pub use merge::merge;
pub use parse::parse;
pub use plan::{Step, plan};
pub use support::{resources, unsupported};
pub use types::*;
pub use validate::validate;
