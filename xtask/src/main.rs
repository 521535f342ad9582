//! The project's only scripts: `cargo xtask demo`, `test`, `bench`, `figures` and `lint`.

mod bench;
mod demo;
mod figures;
mod lint;
mod server;
mod sh;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// What every step returns; the message is written for the person at the keyboard.
type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Test(test::Test),
    Bench(bench::Bench),
    Figures(figures::Figures),
    Lint(lint::Lint),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo(demo) => demo.run().await,
        Command::Test(test) => test.run().await,
        Command::Bench(bench) => bench.run().await,
        Command::Figures(figures) => figures.run(),
        Command::Lint(lint) => lint.run(),
    };
    done.unwrap_or_else(|failure| {
        eprintln!("\nerror: {failure}");
        ExitCode::FAILURE
    })
}
