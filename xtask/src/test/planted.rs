//! `cargo xtask test --planted`: a test that can't fail is worth nothing, so each kept breakage is
//! applied to a copy of the tree, where the test that it names must fail, having been built and
//! having passed without it.

mod patch;
mod tree;

use super::{Shared, runner};
use crate::{Result, sh};
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use patch::Patch;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    process::ExitCode,
};
use tree::Tree;

/// What became of one planted bug.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Found,
    /// The patch does not apply, the test fails without it, or the planted tree does not build.
    Unusable(String),
    Missed,
}

pub(super) fn run(filter: &str, shared: &Shared) -> Result<ExitCode> {
    let patches = Patch::all()?;
    let chosen: Vec<_> = patches.iter().filter(|patch| patch.name.contains(filter)).collect();
    if chosen.is_empty() {
        return Err(format!("no patch in tests/planted has {filter:?} in its name").into());
    }
    let tree = Tree::copy()?;
    let mut clean = BTreeMap::new();
    for patch in &chosen {
        if let Entry::Vacant(unknown) = clean.entry((&patch.package, &patch.test)) {
            eprintln!("clean: {} {}", patch.package, patch.test);
            unknown.insert(test(&tree, patch, shared)?);
        }
    }
    let mut verdicts = Vec::new();
    for patch in chosen {
        eprintln!("planted: {} ({})", patch.name, patch.why);
        let verdict = match &clean[&(&patch.package, &patch.test)] {
            Run::Passed => plant(&tree, patch, shared)?,
            Run::Failed => Verdict::Unusable("its test fails without it too".to_owned()),
            Run::NotBuilt(_) => Verdict::Unusable("the clean tree does not build".to_owned()),
            Run::NoTest => Verdict::Unusable("no test has this name".to_owned()),
        };
        eprintln!("planted: {} {}", patch.name, verdict.word());
        verdicts.push((patch, verdict));
    }
    Ok(table(&verdicts))
}

fn plant(tree: &Tree, patch: &Patch, shared: &Shared) -> Result<Verdict> {
    if let Err(error) = tree.apply(patch) {
        return Ok(Verdict::Unusable(format!("does not apply: {error}")));
    }
    let run = test(tree, patch, shared);
    tree.restore()?;
    Ok(match run? {
        Run::Failed => Verdict::Found,
        Run::Passed => Verdict::Missed,
        Run::NotBuilt(said) => Verdict::Unusable(format!("does not build:\n{said}")),
        Run::NoTest => Verdict::Unusable("takes its own test away".to_owned()),
    })
}

enum Run {
    Passed,
    Failed,
    NotBuilt(String),
    NoTest,
}

/// Builds and runs the test that the patch names. The build comes first and alone, because a
/// compile error finds nothing.
fn test(tree: &Tree, patch: &Patch, shared: &Shared) -> Result<Run> {
    let package = ["--package", patch.package.as_str(), "--all-features"];
    let with_nextest = runner::has_nextest();
    let cargo = |arguments: &[&str]| {
        let mut cargo = tree.cargo();
        cargo.args(arguments).args(package);
        shared.lend(&mut cargo);
        sh::captured(&mut cargo)
    };
    let runner: &[&str] = if with_nextest { &["nextest", "run"] } else { &["test", "--tests"] };
    let (built, said) = cargo(&[runner, &["--no-run"]].concat())?;
    if !built.success() {
        return Ok(Run::NotBuilt(said));
    }
    if with_nextest {
        let (status, said) = cargo(&[runner, &["--no-fail-fast", &patch.test]].concat())?;
        return match status.code() {
            Some(0) => Ok(Run::Passed),
            Some(NEXTEST_TEST_FAILED) => Ok(Run::Failed),
            Some(NEXTEST_NO_TESTS) => Ok(Run::NoTest),
            _ => Err(format!("nextest ended with {status}\n{said}").into()),
        };
    }
    let (status, said) = cargo(&[runner, &["--no-fail-fast", &patch.test]].concat())?;
    let ran = said.lines().any(|line| line.starts_with("running ") && line != "running 0 tests");
    Ok(match (ran, status.success()) {
        (false, _) => Run::NoTest,
        (true, true) => Run::Passed,
        (true, false) => Run::Failed,
    })
}

/// Exit codes that nextest documents.
const NEXTEST_NO_TESTS: i32 = 4;
const NEXTEST_TEST_FAILED: i32 = 100;

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Unusable(_) => "UNUSABLE",
            Self::Missed => "MISSED",
        }
    }
}

fn table(verdicts: &[(&Patch, Verdict)]) -> ExitCode {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["planted", "package", "test", "verdict"]);
    for (patch, verdict) in verdicts {
        table.add_row([patch.name.as_str(), &patch.package, &patch.test, verdict.word()]);
    }
    println!("\n{table}");
    for (patch, verdict) in verdicts {
        if let Verdict::Unusable(why) = verdict {
            println!("  {}: {why}", patch.name);
        }
    }
    let found = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Found).count();
    println!("planted: {found} passed, {} failed", verdicts.len() - found);
    if found == verdicts.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
