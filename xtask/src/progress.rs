//! Long chores tell how far they are: a line when a stage begins, one when it ends, a table at last.

use std::time::{Duration, Instant};

use anyhow::Result;

/// The stages of one chore and how long each took.
pub(crate) struct Progress {
    began: Instant,
    done: Vec<(String, Duration)>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), done: Vec::new() }
    }

    /// Runs one stage; what it prints appears between its two lines.
    pub(crate) fn stage<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("==> {name}");
        let began = Instant::now();
        let outcome = work();
        let took = began.elapsed();
        match &outcome {
            Ok(_) => eprintln!("==> {name}: done in {:.1} s", took.as_secs_f64()),
            Err(_) => eprintln!("==> {name}: FAILED after {:.1} s", took.as_secs_f64()),
        }
        self.done.push((name.to_owned(), took));
        outcome
    }

    /// Notes a stage that was timed elsewhere.
    pub(crate) fn note(&mut self, name: &str, took: Duration) {
        self.done.push((name.to_owned(), took));
    }

    /// Prints every stage with its time, on stdout.
    pub(crate) fn print_table(&self) {
        let width = self.done.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max("total".len());
        println!("{:width$}  {:>9}", "STAGE", "SECONDS");
        for (name, took) in &self.done {
            println!("{name:width$}  {:>9.2}", took.as_secs_f64());
        }
        println!("{:width$}  {:>9.2}", "total", self.began.elapsed().as_secs_f64());
    }
}
