//! The two engines, and work that they do in turn.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::engine::Engine;
use crate::figures::Series;
use crate::images;

/// The elder may be missing: then ours is measured alone.
pub(crate) struct Pair {
    pub(crate) elder: Option<Engine>,
    pub(crate) ours: Engine,
}

/// The same figure of both.
#[derive(Default)]
pub(crate) struct Both {
    pub(crate) elder: Series,
    pub(crate) ours: Series,
}

impl Pair {
    /// Starts both and gives each the small image.
    pub(crate) fn start(scratch: &Path, ours: &Path, elder: Option<&Path>) -> Result<Self> {
        let elder =
            elder.map(|elder| Engine::start(elder, &scratch.join("elder"), "172.30.0.1/16")).transpose()?;
        let ours = Engine::start(ours, &scratch.join("ours"), "172.31.0.1/16")?;
        let pair = Self { elder, ours };
        let tree = images::busybox().context("could not make the small image")?;
        for engine in pair.all() {
            images::import(engine, &tree)?;
        }
        Ok(pair)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Engine> {
        self.elder.iter().chain([&self.ours])
    }

    /// `work` on each in turn, `rounds` times after `warm` that do not count; one sample from each.
    pub(crate) fn alternate(
        &self,
        warm: usize,
        rounds: usize,
        mut work: impl FnMut(&Engine) -> Result<f64>,
    ) -> Result<Both> {
        self.alternate_many(warm, rounds, |engine| Ok([work(engine)?])).map(|[both]| both)
    }

    /// The same for work with several figures.
    pub(crate) fn alternate_many<const N: usize>(
        &self,
        warm: usize,
        rounds: usize,
        mut work: impl FnMut(&Engine) -> Result<[f64; N]>,
    ) -> Result<[Both; N]> {
        let mut figures = std::array::from_fn(|_| Both::default());
        for round in 0..warm + rounds {
            if let Some(elder) = &self.elder {
                let samples = work(elder).context("the elder")?;
                if round >= warm {
                    figures.iter_mut().zip(samples).for_each(|(both, sample)| both.elder.push(sample));
                }
            }
            let samples = work(&self.ours).context("ours")?;
            if round >= warm {
                figures.iter_mut().zip(samples).for_each(|(both, sample)| both.ours.push(sample));
            }
        }
        Ok(figures)
    }

    pub(crate) fn stop(&mut self) {
        self.ours.stop();
        if let Some(elder) = &mut self.elder {
            elder.stop();
        }
    }
}

/// How long `work` takes, in milliseconds.
pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let began = Instant::now();
    let done = work()?;
    Ok((began.elapsed().as_secs_f64() * 1000.0, done))
}
