//! cargo's own test runner, read line by line.

use crate::{
    Result, sh,
    test::report::{Outcome, Report, Totals},
};
use std::process::Command;

/// Runs and counts; a run that fails without a failed test (it did not compile) is a failure too.
pub(super) fn run(what: &'static str, command: &mut Command, report: &mut Report) -> Result<()> {
    let (mut failed, mut binary) = (false, String::new());
    let status = sh::tee(command, |line| {
        if let Some(name) = binary_name(line) {
            binary = name;
        } else if let Some((test, outcome)) = test_line(line) {
            failed |= outcome == Outcome::Failed;
            report.saw(what, format!("{binary} {test}").trim(), outcome);
        } else if let Some(totals) = result_line(line) {
            report.claim(what, totals);
        }
    })?;
    if !status.success() && !failed {
        report.fail(what, &format!("`{}` ({status})", sh::shown(command)));
    }
    Ok(())
}

/// `     Running tests/it/main.rs (target/debug/deps/it-0123)`, `     Running unittests src/lib.rs (…)`
/// and `   Doc-tests russet_cache`.
fn binary_name(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some(package) = line.strip_prefix("Doc-tests ") {
        return Some(package.to_owned());
    }
    let (source, path) = line.strip_prefix("Running ")?.rsplit_once('(')?;
    let file = path.trim_end_matches(')').rsplit(['/', '\\']).next()?;
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    // As nextest would: `package::it` for a binary of tests, without knowing the package.
    Some(if source.starts_with("unittests ") { name.to_owned() } else { format!("tests::{name}") })
}

/// `test a::b ... ok`, where the middle may be `- should panic` or `- compile`.
fn test_line(line: &str) -> Option<(&str, Outcome)> {
    let (name, outcome) = line.trim().strip_prefix("test ")?.rsplit_once(" ... ")?;
    let outcome = match outcome.split([',', ' ']).next()? {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        "ignored" => Outcome::Skipped,
        _ => return None,
    };
    Some((name, outcome))
}

/// `test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
fn result_line(line: &str) -> Option<Totals> {
    let counts = line.trim().strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |word: &str| {
        let part = counts.split("; ").find_map(|part| part.strip_suffix(word))?;
        part.trim().parse().ok()
    };
    Some(Totals { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_runner_are_read() {
        assert_eq!(test_line("test a::b ... ok"), Some(("a::b", Outcome::Passed)));
        assert_eq!(test_line("test a ... ignored, long"), Some(("a", Outcome::Skipped)));
        let doc = "test src/lib.rs - f (line 4) - compile ... FAILED";
        assert_eq!(test_line(doc), Some(("src/lib.rs - f (line 4) - compile", Outcome::Failed)));
        assert_eq!(test_line("test result: ok. 1 passed; 0 failed"), None);
        let result =
            "test result: FAILED. 2 passed; 3 failed; 1 ignored; 0 measured; 9 filtered out";
        assert_eq!(result_line(result), Some(Totals { passed: 2, failed: 3, skipped: 1 }));
    }

    #[test]
    fn the_binary_of_a_test_is_named() {
        let running = "     Running tests/it/main.rs (target/debug/deps/it-0a1b)";
        assert_eq!(binary_name(running).as_deref(), Some("tests::it"));
        let unit = "     Running unittests src/lib.rs (target/debug/deps/russet_cache-0a1b)";
        assert_eq!(binary_name(unit).as_deref(), Some("russet_cache"));
        assert_eq!(binary_name("   Doc-tests russet_cache").as_deref(), Some("russet_cache"));
    }

    #[test]
    fn a_run_that_does_not_compile_is_a_failure() {
        let mut report = Report::new(String::new());
        run("tests", Command::new("sh").args(["-c", "echo 'error: no'; exit 101"]), &mut report)
            .unwrap();
        assert_eq!(report.finish(), std::process::ExitCode::FAILURE);
    }
}
