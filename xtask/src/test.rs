//! `cargo xtask test`: every test of the workspace against one server, and a table of what ran.

mod planted;
mod report;
mod runner;

use crate::{
    Result,
    server::{self, Binary, Wanted},
    sh,
};
use clap::Args;
use report::Report;
use russet_testkit::Server;
use std::{fs, process::ExitCode, time::SystemTime};

/// Run all tests and doctests against a real server
#[derive(Args)]
pub(crate) struct Test {
    /// The server: a path, redis-7, redis-8 or valkey-9 [default: one that is here, or installed]
    #[arg(long)]
    server: Option<Wanted>,
    /// Run the long tests, which are ignored otherwise, at their full sizes, and nothing else
    #[arg(long, conflicts_with = "planted")]
    soak: bool,
    /// How long each long test goes on
    #[arg(long, requires = "soak")]
    seconds: Option<u64>,
    /// Plant the bugs of tests/planted one by one and see that their tests find them
    #[arg(long, value_name = "FILTER", num_args = 0..=1, default_missing_value = "")]
    planted: Option<String>,
    /// Handed to the test runner: a filter, or its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    extra: Vec<String>,
}

/// What every run needs: the server that the tests share, and its binary for private ones.
struct Shared {
    server: Server,
    binary: Binary,
}

impl Test {
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        let binary = server::find(self.server.as_ref().unwrap_or(&Wanted::Any))?;
        let server = Server::builder().binary(&binary.path).start().await?;
        let shared = Shared { server, binary };
        eprintln!("server: {} on {}", shared.binary, shared.server.url());
        match &self.planted {
            Some(filter) => planted::run(filter, &shared),
            None if self.soak => self.soak(&shared),
            None => self.all(&shared),
        }
    }

    fn all(&self, shared: &Shared) -> Result<ExitCode> {
        let mut report = Report::new(shared.binary.to_string());
        runner::tests(shared, &self.extra, &mut report)?;
        if self.extra.is_empty() {
            runner::doctests(shared, &mut report)?;
        } else {
            report.note("doctests: left out, since the runner was given arguments");
        }
        Ok(report.finish())
    }

    fn soak(&self, shared: &Shared) -> Result<ExitCode> {
        let started = SystemTime::now();
        let mut report = Report::new(shared.binary.to_string());
        runner::soak(shared, self.seconds, &self.extra, &mut report)?;
        for entry in fs::read_dir(sh::target().join("soak")).into_iter().flatten() {
            let entry = entry?;
            if entry.metadata()?.modified()? >= started {
                report.note(&format!("wrote {}", entry.path().display()));
            }
        }
        Ok(report.finish())
    }
}
