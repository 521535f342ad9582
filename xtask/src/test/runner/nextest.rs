//! nextest: each test's end from its JUnit file, the totals from its summary line, and what it
//! leaves out from its list.

use crate::{
    Result, sh,
    test::report::{Outcome, Report, Totals},
};
use serde_json::Value;
use std::{fs, process::Command};

/// Runs with a profile of `.config/nextest.toml` and counts.
pub(super) fn run(
    what: &'static str,
    profile: &'static str,
    arguments: &[&str],
    extra: &[String],
    lend: impl Fn(&mut Command),
    report: &mut Report,
) -> Result<()> {
    let nextest = |verb| {
        let mut cargo = sh::cargo();
        cargo.args(["nextest", verb, "--profile", profile]).args(arguments);
        lend(&mut cargo);
        cargo
    };
    if extra.is_empty() {
        // First alone and with our terminal: so cargo shows its progress while it builds.
        sh::run(nextest("run").arg("--no-run"))?;
    }

    // nextest keeps it there wherever else cargo builds.
    let junit = sh::root().join("target/nextest").join(profile).join("junit.xml");
    if junit.exists() {
        fs::remove_file(&junit)?;
    }
    let mut claimed = None;
    let mut command = nextest("run");
    let status = sh::tee(command.args(extra), |line| claimed = summary(line).or(claimed))?;
    let Some(mut claimed) = claimed else {
        report.fail(what, &format!("`{}` ({status})", sh::shown(&command)));
        return Ok(());
    };
    let ended = cases(&fs::read_to_string(&junit).unwrap_or_default());
    let any_failed = ended.iter().any(|(_, outcome)| *outcome == Outcome::Failed);
    for (test, outcome) in ended {
        report.saw(what, &test, outcome);
    }
    if extra.is_empty() && what == "tests" {
        for test in left_out(&sh::output(nextest("list").args(["--message-format", "json"]))?)? {
            report.saw(what, &test, Outcome::Skipped);
        }
    } else {
        // What a filter leaves out is left out on purpose and not named.
        report.note(&format!("{what}: {} filtered out", claimed.skipped));
        claimed.skipped = 0;
    }
    report.claim(what, claimed);
    if !status.success() && !any_failed {
        report.fail(what, &format!("nextest ended with {status}"));
    }
    Ok(())
}

/// `Summary [ 2.026s] 4 tests run: 1 passed (1 slow), 2 failed, 1 timed out, 1 skipped`
fn summary(line: &str) -> Option<Totals> {
    let counts = line.trim().strip_prefix("Summary [")?.split_once(" run: ")?.1;
    let mut totals = Totals::default();
    for part in counts.split(", ") {
        let mut words = part.split(|char: char| !char.is_ascii_alphanumeric());
        let Some(Ok(count)) = words.next().map(str::parse::<usize>) else { continue };
        match words.next() {
            Some("passed") => totals.passed += count,
            Some("skipped") => totals.skipped += count,
            Some("failed" | "timed" | "exec") => totals.failed += count,
            _ => {}
        }
    }
    Some(totals)
}

/// Name and end of each test in a JUnit file as nextest writes it.
fn cases(junit: &str) -> Vec<(String, Outcome)> {
    let cases = junit.split("<testcase ").skip(1).filter_map(|case| {
        let attribute = |name: &str| {
            let value = case.split_once(&format!("{name}=\""))?.1.split_once('"')?.0;
            Some(value.to_owned())
        };
        // `classname` also ends in `name`, and comes behind it.
        let test = format!("{} {}", attribute("classname")?, attribute("name")?);
        let failed = case.contains("<failure") || case.contains("<error");
        Some((test, if failed { Outcome::Failed } else { Outcome::Passed }))
    });
    cases.collect()
}

/// The tests that a run without a filter does not run: the ignored ones.
fn left_out(list: &str) -> Result<Vec<String>> {
    let list: Value = serde_json::from_str(list)?;
    let mut names = Vec::new();
    for (suite, listed) in list["rust-suites"].as_object().into_iter().flatten() {
        for (test, case) in listed["testcases"].as_object().into_iter().flatten() {
            if case["filter-match"]["status"] != "matches" {
                names.push(format!("{suite} {test}"));
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_fail_counts_as_one() {
        let line = "     Summary [   2.026s] 4 tests run: 1 passed (1 slow), 2 failed, 1 timed out, 1 skipped";
        assert_eq!(summary(line), Some(Totals { passed: 1, failed: 3, skipped: 1 }));
        let broken_off = "Summary [ 1.0s] 2/9 tests run: 1 passed, 1 exec failed, 0 skipped";
        assert_eq!(summary(broken_off), Some(Totals { passed: 1, failed: 1, skipped: 0 }));
        assert_eq!(summary("        PASS [   0.014s] (2/4) p tests::cluster::a"), None);
    }

    #[test]
    fn the_end_of_each_test_is_read() {
        let junit = r#"<testsuite name="p" tests="2"><testcase name="tests::bad" classname="p" time="0">
            <failure type="test failure">a &lt;testcase &gt;</failure></testcase>
            <testcase name="tests::good" classname="p::it" timestamp="2026" time="0.014"/>"#;
        let expected = [("p tests::bad", Outcome::Failed), ("p::it tests::good", Outcome::Passed)];
        assert_eq!(cases(junit), expected.map(|(name, outcome)| (name.to_owned(), outcome)));
    }

    #[test]
    fn what_is_left_out_is_named() {
        let list = r#"{"rust-suites": {"p::it": {"testcases": {
            "a": {"ignored": false, "filter-match": {"status": "matches"}},
            "soak": {"ignored": true, "filter-match": {"status": "mismatch", "reason": "ignored"}}}}}}"#;
        assert_eq!(left_out(list).unwrap(), ["p::it soak"]);
    }
}
