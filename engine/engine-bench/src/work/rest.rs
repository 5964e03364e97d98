//! Memory of engines that have nothing to do.

use std::time::Duration;

use anyhow::Result;

use crate::figures::{Aim, Report, Series, Unit};
use crate::memory;
use crate::pair::Pair;

/// What a start or other work leaves behind has settled by then.
const SETTLE: Duration = Duration::from_secs(6);

pub(super) fn measure(pair: &Pair, report: &mut Report, name: &str, aim: Aim) -> Result<()> {
    std::thread::sleep(SETTLE);
    let elder: Series = pair.elder.iter().map(memory::of).collect::<Result<_>>()?;
    let ours: Series = [memory::of(&pair.ours)?].into_iter().collect();
    report.add(name, Unit::Mebibytes, aim, elder, ours);
    Ok(())
}
