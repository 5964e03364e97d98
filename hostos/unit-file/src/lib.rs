//! systemd unit syntax, as values: files with their order kept, unit names, specifiers, command
//! lines, environments, time spans, calendar expressions, signals and sizes.
//!
//! Pure: nothing here reads a file, a clock or a host's name. What an option *means* is for
//! `hostos-units`; here is only how it is written. Rules are systemd's (252), also where they are
//! odd, and each odd one has a test.

mod calendar;
mod civil;
mod command;
mod environment;
pub mod glob;
mod name;
mod parse;
mod signal;
mod specifier;
mod time_span;
mod value;
mod words;

pub use calendar::{Calendar, CalendarError};
pub use command::{CommandError, ExecCommand, expand_arguments, parse_exec};
pub use environment::{expand_value, parse_environment, parse_environment_file, valid_variable_name};
pub use name::{NameError, UnitKind, UnitName, escape, escape_path, unescape, unescape_path};
pub use parse::{Assignment, ParseError, Problem, UnitFile};
pub use signal::{signal_from_name, signal_name};
pub use specifier::{Specifiers, expand};
pub use time_span::{TimeSpan, format_relative, format_span, parse_span};
pub use value::{parse_bool, parse_percent, parse_size};
pub use words::{WordsError, split_words};
