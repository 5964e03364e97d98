//! The loop: asks, sets, waits.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::ask::{AskError, Sample, ask_name};
use crate::clock::Clock;
use crate::follower::{Action, Follower};

const ASK_LIMIT: Duration = Duration::from_secs(10);

/// Says whom to ask, anew each time: the network may have learnt of others.
pub trait Servers {
    /// Names or addresses, the best first.
    fn servers(&self) -> Vec<String>;
}

impl<F: Fn() -> Vec<String>> Servers for F {
    fn servers(&self) -> Vec<String> {
        self()
    }
}

/// Asks every server until one answers, and sets the clock by it, all within `limit`.
///
/// # Errors
/// None had an answer in time; the last one's reason.
pub async fn set_once(
    servers: &[String],
    clock: &mut impl Clock,
    floor: SystemTime,
    limit: Duration,
) -> Result<Sample, AskError> {
    let end = tokio::time::Instant::now() + limit;
    let mut last = AskError::Name("none is known".to_owned());
    for name in servers {
        let left = end.saturating_duration_since(tokio::time::Instant::now());
        if left.is_zero() {
            break;
        }
        match ask_name(name, clock, floor, left).await {
            Ok(sample) => {
                change(clock, &sample, Follower::default().answered(&sample));
                return Ok(sample);
            }
            Err(error) => {
                debug!(server = name, %error, "no time");
                last = error;
            }
        }
    }
    Err(last)
}

/// Keeps a clock right for ever. `noted` is a file that exists while the clock is known to be right;
/// `after` is called each time it was compared.
pub async fn follow(
    servers: impl Servers,
    mut clock: impl Clock,
    floor: SystemTime,
    noted: Option<PathBuf>,
    after: impl Fn(&Sample),
) {
    let mut follower = Follower::default();
    let mut known = false;
    loop {
        match first_answer(&servers.servers(), &clock, floor).await {
            Ok(sample) => {
                let action = follower.answered(&sample);
                change(&mut clock, &sample, action);
                if let Some(path) = &noted {
                    note(path);
                }
                if !known {
                    info!(server = %sample.server, "the clock follows this server");
                }
                known = true;
                after(&sample);
            }
            Err(error) => {
                follower.failed();
                // Once is enough for a network without a way out.
                if known {
                    warn!(%error, "the clock is not compared with anyone's");
                }
                known = false;
            }
        }
        let pause = follower.pause();
        // Many machines that start together must not ask together for ever.
        sleep(pause + pause.mul_f64(rand::random::<f64>() / 10.0)).await;
    }
}

async fn first_answer(servers: &[String], clock: &impl Clock, floor: SystemTime) -> Result<Sample, AskError> {
    let mut last = AskError::Name("none is known".to_owned());
    for name in servers {
        match ask_name(name, clock, floor, ASK_LIMIT).await {
            Ok(sample) => return Ok(sample),
            Err(error) => {
                debug!(server = name, %error, "no time");
                last = error;
            }
        }
    }
    Err(last)
}

fn change(clock: &mut impl Clock, sample: &Sample, action: Action) {
    let changed = match action {
        Action::Step => clock.step(sample.offset, sample.ahead),
        Action::Slew => clock.slew(sample.offset, sample.ahead),
    };
    let seconds = sample.offset.as_secs_f64() * if sample.ahead { -1.0 } else { 1.0 };
    match (changed, action) {
        (Err(error), _) => warn!(%error, "the clock cannot be set"),
        (Ok(()), Action::Step) => info!(seconds, server = %sample.server, "clock set"),
        (Ok(()), Action::Slew) => debug!(seconds, server = %sample.server, "clock adjusted"),
    }
}

fn note(path: &Path) {
    let noted = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, ""));
    if let Err(error) = noted {
        debug!(%error, "not noted that the clock is right");
    }
}
