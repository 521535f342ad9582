//! `cargo xtask test`: every test of the workspace, against servers that all of them share, and a table of what ran.

mod planted;
mod report;
mod runner;

use crate::{
    Result, figures,
    server::{self, Binary, Wanted},
    sh,
};
use clap::Args;
use report::Report;
use russet_testkit::{
    Server,
    shared::{Started, Topology},
};
use serde_json::Value;
use std::{
    fs,
    process::ExitCode,
    time::{Instant, SystemTime},
};

/// Run all tests and doctests against a real server
#[derive(Args)]
pub(crate) struct Test {
    /// The server: a path, redis-7, redis-8 or valkey-9 [default: one that is here, or installed]
    #[arg(long)]
    server: Option<Wanted>,
    /// Run the long tests, which are ignored otherwise, at their full sizes, and nothing else
    #[arg(long, conflicts_with = "planted")]
    soak: bool,
    /// Keep what they have found in benchmarks/figures.json, from where the docs take it
    #[arg(long, requires = "soak")]
    record: bool,
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

/// What every run needs: the servers that the tests share, and their binary for private ones.
struct Shared {
    servers: Vec<(Topology, Started)>,
    binary: Binary,
}

impl Shared {
    /// Starts them one by one: each waits for a while, but together they would hold each other up.
    async fn start(binary: Binary) -> Result<Self> {
        let mut servers = Vec::new();
        for topology in Topology::ALL {
            let begun = Instant::now();
            eprint!("{topology}: {binary} ");
            let started = topology.start(Server::builder().binary(&binary.path)).await?;
            eprintln!("on {}, after {:.1} s", started.url(), begun.elapsed().as_secs_f64());
            servers.push((topology, started));
        }
        Ok(Self { servers, binary })
    }
}

impl Test {
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        let binary = server::find(self.server.as_ref().unwrap_or(&Wanted::Any))?;
        let shared = Shared::start(binary).await?;
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
            runner::second_link(shared, &mut report)?;
            runner::doctests(shared, &mut report)?;
        } else {
            report.note(
                "doctests and the second link: left out, since the runner was given arguments",
            );
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
                if self.record {
                    let found: Value = serde_json::from_str(&fs::read_to_string(entry.path())?)?;
                    figures::keep(
                        "soak",
                        found["name"].as_str().unwrap_or_default(),
                        found.clone(),
                    )?;
                }
            }
        }
        Ok(report.finish())
    }
}
