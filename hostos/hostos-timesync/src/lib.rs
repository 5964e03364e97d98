//! Keeps a machine's clock right by SNTP (RFC 4330), as systemd-timesyncd does.
//!
//! [`packet`] turns packets into values and back, [`ask`] asks one server once, [`Follower`] decides
//! what an answer does to a clock and when to ask again, and [`follow`] is the loop around it. No
//! answer is believed that shows a time before [`floor`]: a machine cannot live before it was built.
//!
//! It does not discipline the clock's rate beyond what the kernel does with offsets, and serves no
//! time to others.

mod ask;
mod clock;
mod config;
mod floor;
mod follow;
mod follower;
pub mod packet;

pub use ask::{AskError, Sample, ask, ask_name};
pub use clock::{Clock, SystemClock};
pub use config::{Config, FALLBACK};
pub use floor::{floor, keep_floor};
pub use follow::{Servers, follow, set_once};
pub use follower::{Action, Follower};
