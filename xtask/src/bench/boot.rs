//! How long a machine needs from the start of its kernel until every API answers, against what the
//! kernel alone needs to get to PID 1.
//!
//! The machine counts time by the instructions it executes (`-icount`), so that a busy host changes
//! nothing. Nor does it sleep (`idle=poll`): the clock of a machine that sleeps leaps to its next timer, and
//! how often it does that while it waits for its disk is up to the host. The figures of several runs on a
//! busy host differ by less than one in a hundred.

use anyhow::{Result, bail};

use super::guest::Guest;

/// Ready may be at so many times the moment of PID 1.
const LIMIT: f64 = 2.0;

/// QEMU with a clock of instructions, which wants one thread.
const QEMU: &str = "#!/bin/sh
for word; do
  shift
  case $word in tcg,thread=multi) word=tcg,thread=single ;; esac
  set -- \"$@\" \"$word\"
done
exec qemu-system-x86_64 -icount shift=0,sleep=off \"$@\"
";

/// Boots one machine with all daemons and prints when it reached what.
pub(super) fn run(json: bool) -> Result<()> {
    let qemu = Guest::script("qemu-icount", QEMU)?;
    let flags =
        ["--qemu-program", &qemu.to_string_lossy(), "--qemu-cmdline", "idle=poll", "--timeout", "600"];
    let guest = Guest::create("boot", &["kv.service", "fleet.service"], &flags)?;
    let (stages, ready) = guest.stages()?;
    let init = stages.first().map_or(ready, |(_, at)| *at);
    let ratio = ready.as_secs_f64() / init.as_secs_f64();
    if json {
        let figures = serde_json::json!({
            "init_s": init.as_secs_f64(), "ready_s": ready.as_secs_f64(), "ready_per_init": ratio,
        });
        println!("{figures}");
    } else {
        for (stage, at) in &stages {
            println!("{:<12}{:>8.3} s", format!("{stage:?}").to_lowercase(), at.as_secs_f64());
        }
        println!("{:<12}{:>8.3} s, {ratio:.2} times init (limit {LIMIT:.1})", "ready", ready.as_secs_f64());
    }
    if ratio > LIMIT {
        bail!("the machine is ready at {ratio:.2} times the moment of PID 1, the limit is {LIMIT:.1}");
    }
    Ok(())
}
