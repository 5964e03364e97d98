//! Every chore of the project: `cargo xtask VERB`. Nothing depends on this crate.

mod bench;
mod cargo;
mod ci;
mod demo;
mod docs;
mod image;
mod progress;
mod setup;
mod tidy;

use clap::{Parser, Subcommand};

/// Chores of rmachine
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install the Debian packages that the other verbs need
    Setup(setup::Args),
    /// Build the programs of the image and assemble a release
    Image(image::Args),
    /// Show the product: make a machine, use it, remove it
    Demo(demo::Args),
    /// Run the gates and the tests (all of them, by default)
    Test(ci::Args),
    /// Run what CI runs: the same as `test`
    Ci(ci::Args),
    /// Measure ours and the elder, alternating
    Bench(bench::Args),
    /// Write help pages, man pages and shell completions
    Docs(docs::Args),
    /// Check what no lint can: crate edges, names, file heads, licences
    Tidy,
}

fn main() -> std::process::ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Setup(args) => setup::run(&args),
        Verb::Image(args) => image::run(&args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Test(args) | Verb::Ci(args) => ci::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Docs(args) => docs::run(&args),
        Verb::Tidy => tidy::run(),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
