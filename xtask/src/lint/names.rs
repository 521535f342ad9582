//! Who may know whom: fred's types are named in core-conn alone.

use super::{own_files, read, rust_text::RustText, verdict};
use crate::Result;

/// Where fred may be named: its wall, and the benchmarks that run beside it.
const ALLOWED: [&str; 2] = ["crates/core-conn/", "benchmarks/"];

pub(super) fn check() -> Result<String> {
    let mut findings = Vec::new();
    let files = own_files(".rs")?;
    for file in files.iter().filter(|file| !ALLOWED.iter().any(|folder| file.starts_with(folder))) {
        findings.extend(lines(&read(file)?).map(|line| format!("{file}: names fred: {line}")));
    }
    verdict(&findings, format!("{} files", files.len()))
}

/// The lines of code that name something of fred.
fn lines(source: &str) -> impl Iterator<Item = String> {
    let code = RustText::parse(source).code;
    let named: Vec<_> = code.lines().filter(|line| names_fred(line)).map(str::trim).collect();
    named.into_iter().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

fn names_fred(line: &str) -> bool {
    let word = |char: char| char.is_alphanumeric() || char == '_';
    line.match_indices("fred").any(|(at, _)| {
        let (before, after) = (&line[..at], line[at + 4..].trim_start());
        let imported = before.trim_end().ends_with("use") || before.trim_end().ends_with("crate");
        !before.ends_with(word)
            && (after.starts_with("::") || imported && !after.starts_with(word))
            && !before.strip_suffix("::").is_some_and(|path| path.ends_with(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str) -> usize {
        lines(source).count()
    }

    #[test]
    fn a_use_or_a_path_is_found() {
        assert_eq!(found("use fred::prelude::*;\nlet x: fred::types::Value = y();"), 2);
        assert_eq!(found("pub use fred;\nextern crate fred;"), 2);
        assert_eq!(found("let x = ::fred::types::Value::Null;"), 1);
    }

    #[test]
    fn talk_and_other_names_are_not() {
        assert_eq!(found("// as fred::Client does\n/// [`fred::Client`]\nlet s = \"fred::x\";"), 0);
        assert_eq!(
            found("use alfred::Butler;\nlet fred = 1;\nmod fred_link;\ncrate::fred::x();"),
            0
        );
    }
}
