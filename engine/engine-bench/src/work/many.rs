//! A hundred containers on the bridge, created and started over ten connections at once; what they take; and their
//! end.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use super::Plan;
use crate::engine::Engine;
use crate::figures::{Aim, Report, Unit};
use crate::memory;
use crate::pair::{Pair, timed};

const CONNECTIONS: usize = 10;
/// Engines put things in order for a moment after a burst.
const SETTLE: Duration = Duration::from_secs(2);

pub(super) fn measure(pair: &Pair, plan: &Plan, report: &mut Report) -> Result<()> {
    let rounds = plan.long_rounds.min(3);
    let [start, memory, remove] = pair.alternate_many(0, rounds, |engine| round(engine, plan.containers))?;
    let name = |what: &str| format!("{} containers, {what}", plan.containers);
    let aim = Aim::AtMostOfElder(0.2);
    report.add(&name("create+start"), Unit::Milliseconds, aim, start.elder, start.ours);
    report.add("Pss per container", Unit::Mebibytes, Aim::AtMost(0.5), memory.elder, memory.ours);
    report.add(&name("rm -f"), Unit::Milliseconds, Aim::None, remove.elder, remove.ours);
    Ok(())
}

fn round(engine: &Engine, count: usize) -> Result<[f64; 3]> {
    let before = memory::of(engine)?;
    let (start, ids) = timed(|| {
        on_connections(|_| {
            let mut client = engine.client();
            let one = |_| engine.run(&mut client, &["/bin/sleep", "3600"], json!({}));
            (0..count / CONNECTIONS).map(one).collect::<Result<Vec<_>>>()
        })
    })?;
    std::thread::sleep(SETTLE);
    let each = (memory::of(engine)? - before) / count as f64;
    let (remove, _) = timed(|| {
        on_connections(|number| {
            let mut client = engine.client();
            ids[number].iter().try_for_each(|id| engine.remove(&mut client, id))
        })
    })?;
    std::thread::sleep(SETTLE);
    Ok([start, each, remove])
}

fn on_connections<T: Send>(work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let work = &work;
                scope.spawn(move || work(number))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
            .collect()
    })
}
