//! Files stay small enough to be read at one sitting.

use super::{own_files, read, verdict};
use crate::Result;

const WARN: usize = 400;
const FAIL: usize = 600;

/// Lines of each source file.
pub(super) fn sizes() -> Result<String> {
    let files = own_files(".rs")?;
    let lines: Result<Vec<_>> =
        files.into_iter().map(|file| Ok((read(&file)?.lines().count(), file))).collect();
    let (failures, warnings) = judge(lines?);
    for warning in &warnings {
        eprintln!("  warning: {warning}");
    }
    verdict(&failures, format!("{} above {WARN} lines", warnings.len()))
}

fn judge(files: Vec<(usize, String)>) -> (Vec<String>, Vec<String>) {
    let long = files.into_iter().filter(|(lines, _)| *lines > WARN);
    let (fail, warn): (Vec<_>, Vec<_>) = long.partition(|(lines, _)| *lines > FAIL);
    let told = |(lines, file)| format!("{file}: {lines} lines");
    (fail.into_iter().map(told).collect(), warn.into_iter().map(told).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_are_warned_of_and_longer_ones_fail() {
        let files = [(FAIL + 1, "long.rs"), (FAIL, "middling.rs"), (WARN, "short.rs")];
        let (fail, warn) = judge(files.map(|(lines, name)| (lines, name.to_owned())).to_vec());
        assert_eq!(fail, ["long.rs: 601 lines"]);
        assert_eq!(warn, ["middling.rs: 600 lines"]);
    }
}
