//! How long the commands take that are typed most, and what several creates cost at once.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use super::{median, rmachine};
use crate::cargo;

const MACHINES: usize = 50;
const ROUNDS: usize = 20;
const STORES: usize = 5;

/// Medians in milliseconds, and a ratio.
pub(super) struct Figures {
    pub(super) ls: f64,
    pub(super) ls_quiet: f64,
    pub(super) first_keys: f64,
    pub(super) three_to_one: f64,
}

/// Measures on stores below `scratch`.
pub(super) fn measure(scratch: &Path) -> Result<Figures> {
    let names: Vec<String> = (0..MACHINES).map(|n| format!("m{n}")).collect();
    let full = scratch.join("full");
    let mut create = vec!["create", "-d", "none", "--url", "tcp://127.0.0.1:1"];
    create.extend(names.iter().map(String::as_str));
    cargo::run(&mut rmachine(&full, &create))?;
    let (mut ls, mut ls_quiet) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ls.push(timed(&full, &["ls"])?);
        ls_quiet.push(timed(&full, &["ls", "-q"])?);
    }
    let mut first_keys = Vec::new();
    for n in 0..STORES {
        let store = scratch.join(format!("fresh{n}"));
        first_keys.push(timed(&store, &["create", "-d", "none", "--url", "tcp://127.0.0.1:1", "m"])?);
    }
    let three_to_one = several(&scratch.join("store"))?;
    std::fs::remove_dir_all(&full).context("could not remove a scratch store")?;
    Ok(Figures {
        ls: median(&ls),
        ls_quiet: median(&ls_quiet),
        first_keys: median(&first_keys),
        three_to_one,
    })
}

/// Three creates in one command against one, alternating.
fn several(store: &Path) -> Result<f64> {
    let (mut one, mut three) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        for (names, times) in [(&["a"][..], &mut one), (&["a", "b", "c"], &mut three)] {
            let words = |verb: &[&'static str]| [verb, names].concat();
            times.push(timed(store, &words(&["create", "-d", "qemu", "--qemu-accel", "tcg"]))?);
            cargo::run(&mut rmachine(store, &words(&["rm", "-f"])))?;
        }
    }
    Ok(median(&three) / median(&one))
}

fn timed(store: &Path, words: &[&str]) -> Result<f64> {
    let began = Instant::now();
    cargo::run(&mut rmachine(store, words))?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}
