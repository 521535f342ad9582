//! The test runners: nextest where it is installed, cargo's own otherwise, and cargo for doctests.

mod libtest;
mod nextest;

use super::{
    Shared,
    report::{Report, SECOND_LINK},
};
use crate::{Result, sh};
use std::process::Command;

/// All tests of the workspace but the doctests and the long ones.
pub(super) fn tests(shared: &Shared, extra: &[String], report: &mut Report) -> Result<()> {
    // cargo would not mind both, and run all the same.
    let chosen = extra.iter().any(|word| word == "-p" || word.starts_with("--package"));
    let workspace =
        if chosen { &["--all-features"][..] } else { &["--workspace", "--all-features"] };
    if has_nextest() {
        let lend = |command: &mut Command| {
            shared.lend(command);
        };
        return nextest::run("tests", profile(), workspace, extra, lend, report);
    }
    let mut build = sh::cargo();
    sh::run(build.args(["test", "--no-run", "--tests"]).args(workspace))?;
    let mut cargo = sh::cargo();
    cargo.args(["test", "--no-fail-fast", "--tests"]).args(workspace).args(extra);
    libtest::run("tests", shared.lend(&mut cargo), report)
}

/// The suites of the core and of what stands on it, over the other link: the same binaries are told which by a variable.
pub(super) fn second_link(shared: &Shared, report: &mut Report) -> Result<()> {
    let chosen = ["--workspace", "--all-features"];
    let lend = |command: &mut Command| {
        shared.lend(command).env("RUSSET_CLIENT", "redis-rs");
    };
    if has_nextest() {
        let these = "kind(test) & (package(russet-core-conn) | package(russet-cache))";
        let chosen = [&chosen[..], &["-E", these]].concat();
        return nextest::run(SECOND_LINK, profile(), &chosen, &[], lend, report);
    }
    let mut cargo = sh::cargo();
    cargo.args(["test", "--no-fail-fast", "-p", "russet-core-conn", "-p", "russet-cache"]);
    lend(cargo.args(["--all-features", "--test", "it"]));
    libtest::run(SECOND_LINK, &mut cargo, report)
}

fn profile() -> &'static str {
    if std::env::var_os("CI").is_some() { "ci" } else { "default" }
}

/// The examples in the docs, which nextest does not run.
pub(super) fn doctests(shared: &Shared, report: &mut Report) -> Result<()> {
    let mut cargo = sh::cargo();
    cargo.args(["test", "--doc", "--workspace", "--all-features", "--no-fail-fast"]);
    libtest::run("doctests", shared.lend(&mut cargo), report)
}

/// The long tests, optimised: those that are ignored and have `soak` in their name.
pub(super) fn soak(
    shared: &Shared,
    seconds: Option<u64>,
    extra: &[String],
    report: &mut Report,
) -> Result<()> {
    let lend = |command: &mut Command| {
        // They look whether memory grows, and by five percent a glibc with an arena for each thread grows by itself.
        shared.lend(command).env("RUSSET_SOAK", "1").env("MALLOC_ARENA_MAX", "1");
        if let Some(seconds) = seconds {
            command.env("RUSSET_SOAK_SECONDS", seconds.to_string());
        }
    };
    if has_nextest() {
        let ignored = ["--workspace", "--all-features", "--release", "--run-ignored", "only"];
        let soak = [&ignored[..], &["-E", "test(soak)"]].concat();
        return nextest::run("soak", "soak", &soak, extra, lend, report);
    }
    let mut cargo = sh::cargo();
    cargo.args(["test", "--no-fail-fast", "--tests", "--workspace", "--all-features"]);
    lend(cargo.args(["--release"]).args(extra).args(["--", "--ignored", "--nocapture", "soak"]));
    libtest::run("soak", &mut cargo, report)
}

pub(super) fn has_nextest() -> bool {
    sh::works("cargo", &["nextest", "--version"])
}

impl Shared {
    /// Tells a test run of the shared servers, and of the binary for private ones.
    pub(super) fn lend<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for (topology, started) in &self.servers {
            command.env(topology.variable(), started.url());
        }
        command.env("RUSSET_SERVER", &self.binary.path)
    }
}
