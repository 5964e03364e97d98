//! The end of a boot that cannot go on: one sentence for everyone who listens, then power off.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use hostos_api::{Failure, Report, Stage};
use nix::sys::reboot::RebootMode;

use crate::report::Reporter;
use crate::{keep, recovery, system};

/// An error and its causes in one line.
pub(crate) fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// A failure of `stage` with what to do about it.
pub(crate) fn failure(stage: Stage, error: &dyn Error, hint: &str) -> Failure {
    Failure { stage, message: sentence(error), hint: hint.to_owned() }
}

/// Says why and powers the machine off.
pub(crate) fn give_up(reporter: &Reporter, failure: Failure) -> ! {
    eprintln!("rmachine: failed: {}", failure.message);
    if !failure.hint.is_empty() {
        eprintln!("rmachine: hint: {}", failure.hint);
    }
    remember(&failure);
    reporter.send(Report::Failed(failure));
    reporter.flush(Duration::from_secs(2));
    recovery::offer();
    system::end(RebootMode::RB_POWER_OFF)
}

/// Where the reason of a failed boot waits for the next one.
const RECORD: &str = "/var/lib/hostos/last-failure";

/// Keeps the reason over the power off; a machine without a state disk cannot.
fn remember(failure: &Failure) {
    // Without /var there is nowhere to; the console has said it.
    let _ = keep::replace(Path::new(RECORD), &failure.message);
}

/// A boot that ends for a good reason leaves no record of a bad one.
pub(crate) fn forget() {
    let _ = fs::remove_file(RECORD);
}

/// The reason of the boot before this one, told once.
pub(crate) fn last() -> Option<String> {
    let text = fs::read_to_string(RECORD).ok()?;
    let _ = fs::remove_file(RECORD);
    Some(text)
}

/// Makes a panic of PID 1 a failure like any other instead of a dead machine without a word.
pub(crate) fn report_panics(reporter: &Reporter) {
    let reporter = reporter.clone();
    std::panic::set_hook(Box::new(move |info| {
        let failure = Failure {
            stage: Stage::Init,
            message: format!("PID 1 {info}").replace('\n', " "),
            hint: "this is a bug in rmachine: please report it with the lines above".to_owned(),
        };
        give_up(&reporter, failure)
    }));
}
