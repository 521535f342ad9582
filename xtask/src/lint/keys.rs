//! Key layouts: the table in a crate's `src/keys.rs` and the code below it say the same.
//!
//! The module docs hold a table that begins `| key | type |`. A key is written with its literal
//! segments as they are and everything else in braces or angle brackets:
//! `` `{prefix:p}:cache.<name>:<key>` ``. Each literal segment must be in a string literal of the
//! file, and each string literal of the file that looks like a segment must be in the table.

use super::{own_files, read, rust_text::RustText, verdict};
use crate::Result;
use std::collections::BTreeSet;

const TYPES: [&str; 8] =
    ["string", "hash", "list", "set", "zset", "stream", "channel", "hyperloglog"];

pub(super) fn check() -> Result<String> {
    let mut findings = Vec::new();
    let files: Vec<_> =
        own_files("/src/keys.rs")?.into_iter().filter(|file| file.starts_with("crates/")).collect();
    for file in &files {
        findings.extend(judge(&read(file)?).into_iter().map(|what| format!("{file}: {what}")));
    }
    verdict(&findings, format!("{} crates with keys", files.len()))
}

/// All that is wrong with one `keys.rs`.
fn judge(source: &str) -> Vec<String> {
    let rows = rows(source);
    if rows.is_empty() {
        return vec!["no layout table `| key | type | … |` in the module docs".to_owned()];
    }
    let mut wrong = Vec::new();
    let mut documented = BTreeSet::new();
    for (key, kind) in &rows {
        if !TYPES.contains(&kind.as_str()) {
            wrong.push(format!("`{key}`: {kind:?} is none of {}", TYPES.join(", ")));
        }
        documented.extend(segments(key));
    }
    let code = source.split("#[cfg(test)]").next().unwrap_or(source);
    let literals: BTreeSet<_> =
        RustText::parse(code).literals.iter().flat_map(|literal| segments(literal)).collect();
    for segment in documented.difference(&literals) {
        wrong.push(format!("segment `{segment}` is in the table and not in the code"));
    }
    for literal in literals.difference(&documented) {
        wrong.push(format!("segment \"{literal}\" is in the code and not in the table"));
    }
    wrong
}

/// Key and type of each row of the layout table.
fn rows(source: &str) -> Vec<(String, String)> {
    let docs = source.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
    let mut table = docs.skip_while(|line| !is_head(line)).take_while(|line| line.starts_with('|'));
    if table.next().is_none() {
        return Vec::new();
    }
    let cells = table.filter(|line| !line.contains("---")).map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        let key = cells.next().unwrap_or_default().trim_matches('`').to_owned();
        (key, cells.next().unwrap_or_default())
    });
    cells.collect()
}

fn is_head(line: &str) -> bool {
    line.split('|').map(str::trim).take(3).eq(["", "key", "type"])
}

/// The literal segments of a key or of a format string, without their placeholders.
fn segments(key: &str) -> Vec<String> {
    let mut depth = 0;
    let literal = key.chars().map(|char| match char {
        '{' | '<' => {
            depth += 1;
            ':'
        }
        '}' | '>' => {
            depth -= 1;
            ':'
        }
        char if depth == 0 => char,
        _ => ':',
    });
    let literal: String = literal.collect();
    literal.split([':', '.']).filter(|part| is_segment(part)).map(str::to_owned).collect()
}

fn is_segment(text: &str) -> bool {
    let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    text.len() <= 16
        && text.starts_with(|char: char| char.is_ascii_lowercase())
        && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"//! Every key of this crate.
//!
//! | key | type | what | ends |
//! |-----|------|------|------|
//! | `{prefix:p}:v:<key>` | string | an entry | its TTL |
//! | `{prefix:p}:tag:<tag>` | zset | a tag | its last entry |

fn key(&self) { self.space.key(["v", name]) } // not "w"
fn tag(&self) { format!("{}:tag:{tag}", self.space) }
"#;

    #[test]
    fn a_good_layout_passes() {
        assert_eq!(judge(GOOD), [""; 0]);
    }

    #[test]
    fn a_row_without_code_and_code_without_a_row_are_found() {
        let wrong = judge(&GOOD.replace("[\"v\", name]", "[name]"));
        assert_eq!(wrong, ["segment `v` is in the table and not in the code"]);
        let wrong = judge(&GOOD.replace("[\"v\", name]", "[\"v\", \"old\", name]"));
        assert_eq!(wrong, ["segment \"old\" is in the code and not in the table"]);
    }

    #[test]
    fn a_missing_table_and_an_unknown_type_are_found() {
        assert_eq!(judge("//! Keys.\nfn key() {}").len(), 1);
        let wrong = judge(&GOOD.replace("| zset |", "| bag |"));
        assert!(wrong[0].contains("\"bag\" is none of"), "{wrong:?}");
    }

    #[test]
    fn placeholders_are_no_segments() {
        assert_eq!(segments("{prefix:p}:lock.<name>:<key>:…:v2"), ["lock", "v2"]);
        assert_eq!(segments("cache.{name}"), ["cache"]);
        assert_eq!(segments("a sentence, such as an error has"), [""; 0]);
    }
}
