//! Metrics: the names in a crate's code are those that its docs tell of.

use super::{own_files, read, rust_text::RustText, verdict};
use crate::Result;
use std::collections::BTreeSet;

/// With what each of them begins, behind the crate's name or that of what it measures.
const PREFIX: &str = "russet_";

pub(super) fn check() -> Result<String> {
    let files = own_files(".rs")?;
    let (mut findings, mut count) = (Vec::new(), 0);
    for lib in files.iter().filter(|file| is_lib(file)) {
        let folder = lib.trim_end_matches("lib.rs");
        let mut used = BTreeSet::new();
        for file in files.iter().filter(|file| file.starts_with(folder)) {
            used.extend(recorded(&read(file)?));
        }
        let told = documented(&read(lib)?);
        findings.extend(used.difference(&told).map(|name| format!("{lib}: {name} is not told of")));
        findings
            .extend(told.difference(&used).map(|name| format!("{lib}: nothing records {name}")));
        count += used.len();
    }
    verdict(&findings, format!("{count} metrics"))
}

fn is_lib(file: &str) -> bool {
    let inside = file.strip_prefix("crates/").and_then(|file| file.split_once('/'));
    inside.is_some_and(|(_, file)| file == "src/lib.rs")
}

/// The literals that are the name of a metric.
fn recorded(source: &str) -> BTreeSet<String> {
    RustText::parse(source).literals.into_iter().filter(|literal| is_name(literal)).collect()
}

/// What stands between backticks in the docs of the crate.
fn documented(source: &str) -> BTreeSet<String> {
    let docs = source.lines().filter_map(|line| line.strip_prefix("//!"));
    let words = docs.flat_map(|line| line.split('`').skip(1).step_by(2));
    words.filter(|word| is_name(word)).map(str::to_owned).collect()
}

/// `russet_cache_lookups_total`, and not `russet_cache`, which is a crate.
fn is_name(text: &str) -> bool {
    let of_name = |char: char| char.is_ascii_lowercase() || char == '_';
    text.strip_prefix(PREFIX).is_some_and(|rest| rest.contains('_') && rest.chars().all(of_name))
        && !matches!(text, "russet_core_conn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_code_and_in_docs() {
        let code = "counter!(\"russet_cache_hits_total\"); // \"russet_cache_misses_total\"\nlet of = \"russet_cache\";";
        assert_eq!(recorded(code), BTreeSet::from(["russet_cache_hits_total".to_owned()]));
        let docs = "//! | `russet_cache_hits_total` | counter | `cache` |\n//! `russet_core_conn`\n/// `russet_a_b`";
        assert_eq!(documented(docs), BTreeSet::from(["russet_cache_hits_total".to_owned()]));
    }
}
