//! The table a test run ends with, and whether its totals agree with what the runner said.

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use std::{collections::BTreeMap, process::ExitCode};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// The kind of the tests that run over the second link.
pub(super) const SECOND_LINK: &str = "tests over redis-rs";

/// Counts of outcomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

/// All tests of one run, as they were seen to end, beside what the runners claimed.
#[derive(Default)]
pub(super) struct Report {
    server: String,
    rows: BTreeMap<Row, Totals>,
    seen: BTreeMap<&'static str, Totals>,
    claimed: BTreeMap<&'static str, Totals>,
    exceptions: Vec<String>,
    notes: Vec<String>,
}

/// What one line of the table counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    what: &'static str,
    topology: &'static str,
    link: &'static str,
}

impl Report {
    pub(super) fn new(server: String) -> Self {
        Self { server, ..Self::default() }
    }

    /// A test of the kind `what` was seen to end so.
    pub(super) fn saw(&mut self, what: &'static str, test: &str, outcome: Outcome) {
        let row =
            Row { what: layer(what, test), topology: topology(what, test), link: link(what, test) };
        self.rows.entry(row).or_default().count(outcome);
        self.seen.entry(what).or_default().count(outcome);
        match outcome {
            Outcome::Passed => {}
            Outcome::Failed => self.exceptions.push(format!("FAILED   {what}: {test}")),
            Outcome::Skipped => self.exceptions.push(format!("skipped  {what}: {test}")),
        }
    }

    /// The runner of the kind `what` says that it counted so.
    pub(super) fn claim(&mut self, what: &'static str, totals: Totals) {
        let claimed = self.claimed.entry(what).or_default();
        *claimed = claimed.plus(totals);
    }

    /// Something to be told below the table.
    pub(super) fn note(&mut self, note: &str) {
        self.notes.push(note.to_owned());
    }

    /// Something that fails the run though no test failed.
    pub(super) fn fail(&mut self, what: &'static str, why: &str) {
        self.saw(what, why, Outcome::Failed);
        self.claim(what, Totals { failed: 1, ..Totals::default() });
    }

    /// Prints all of it. A run without a test is a failure: it has shown nothing.
    pub(super) fn finish(mut self) -> ExitCode {
        println!("\n{}", self.table());
        self.exceptions.sort();
        for line in self.exceptions.iter().chain(&self.notes) {
            println!("  {line}");
        }
        let disagreements = self.disagreements();
        for line in &disagreements {
            println!("  DISAGREE {line}");
        }
        let total = self.total();
        // Alone on its line and last, in the shape that CI systems read.
        println!(
            "tests: {} passed, {} failed, {} skipped",
            total.passed,
            total.failed + disagreements.len(),
            total.skipped
        );
        let ok = total.failed == 0 && total.passed > 0 && disagreements.is_empty();
        if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn total(&self) -> Totals {
        self.seen.values().fold(Totals::default(), |sum, totals| sum.plus(*totals))
    }

    fn disagreements(&self) -> Vec<String> {
        let kinds =
            self.seen.keys().chain(self.claimed.keys().filter(|k| !self.seen.contains_key(*k)));
        let pairs = kinds.map(|what| {
            let of = |totals: &BTreeMap<_, Totals>| totals.get(what).copied().unwrap_or_default();
            (what, of(&self.seen), of(&self.claimed))
        });
        let differing = pairs.filter(|(_, seen, claimed)| seen != claimed);
        differing
            .map(|(what, seen, claimed)| format!("{what}: {seen:?}, the runner says {claimed:?}"))
            .collect()
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header(["", "topology", "link", "server", "run", "passed", "failed", "skipped"]);
        for (row, totals) in &self.rows {
            let server = if row.topology == "-" { "-" } else { &self.server };
            table.add_row(totals.cells([row.what, row.topology, row.link, server]));
        }
        table.add_row(self.total().cells(["all", "", "", ""]));
        table
    }
}

impl Totals {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }

    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Skipped => self.skipped += 1,
        }
    }

    fn cells(self, names: [&str; 4]) -> Vec<String> {
        let counts = [self.passed + self.failed, self.passed, self.failed, self.skipped];
        names.map(str::to_owned).into_iter().chain(counts.map(|count| count.to_string())).collect()
    }
}

/// Tests beside the code are pure; those that need a server are in binaries of their own.
fn layer(what: &'static str, test: &str) -> &'static str {
    match what {
        SECOND_LINK => "tests",
        "tests" if is_unit(test) => "unit tests",
        _ => what,
    }
}

/// A test says by a module of its name that it needs more than one server.
fn topology(what: &str, test: &str) -> &'static str {
    if what == "doctests" || is_unit(test) {
        return "-";
    }
    let topologies = ["cluster", "sentinel"];
    topologies.into_iter().find(|topology| has_segment(test, topology)).unwrap_or("one server")
}

/// The run of the suite over the other link says so as a whole.
fn link(what: &str, test: &str) -> &'static str {
    match what {
        "doctests" => "-",
        _ if is_unit(test) => "-",
        SECOND_LINK => "redis-rs",
        _ => "fred",
    }
}

/// The binary comes first in a test's name: `russet-cache`, `xtask::bin/xtask`, `russet-cache::it`.
fn is_unit(test: &str) -> bool {
    let binary = test.split(' ').next().unwrap_or_default();
    binary.split_once("::").is_none_or(|(_, target)| target.starts_with("bin/"))
}

fn has_segment(test: &str, segment: &str) -> bool {
    test.split([' ', ':']).any(|part| part == segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_apart_by_the_modules_of_a_test() {
        assert_eq!(topology("tests", "russet-cache::it cluster::a_tag"), "cluster");
        assert_eq!(topology("tests", "russet-cluster::it slots::a_clustered_name"), "one server");
        assert_eq!(topology("tests", "russet-cluster cluster::a_map"), "-");
        assert_eq!(layer("tests", "xtask::bin/xtask sh::a"), "unit tests");
        assert_eq!(link(SECOND_LINK, "russet-core-conn::it once::one"), "redis-rs");
        assert_eq!(link("tests", "russet-core-conn::it once::one"), "fred");
        assert_eq!(layer(SECOND_LINK, "russet-core-conn::it once::one"), "tests");
        assert_eq!(topology("doctests", "cluster::a"), "-");
    }

    #[test]
    fn a_count_that_the_runner_does_not_share_is_told() {
        let mut report = Report::new("Redis 7.0.15".to_owned());
        report.saw("tests", "a", Outcome::Passed);
        report.claim("tests", Totals { passed: 1, ..Totals::default() });
        assert!(report.disagreements().is_empty());
        report.claim("tests", Totals { passed: 1, ..Totals::default() });
        assert_eq!(report.disagreements().len(), 1);
    }

    #[test]
    fn nothing_run_is_a_failure() {
        assert_eq!(Report::new(String::new()).finish(), ExitCode::FAILURE);
    }

    #[test]
    fn one_failure_fails_the_run_and_is_named() {
        let mut report = Report::new(String::new());
        report.saw("tests", "good", Outcome::Passed);
        report.claim("tests", Totals { passed: 1, ..Totals::default() });
        report.fail("doctests", "did not compile");
        assert_eq!(report.exceptions, ["FAILED   doctests: did not compile"]);
        assert_eq!(report.finish(), ExitCode::FAILURE);
    }
}
