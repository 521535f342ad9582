//! The comment a script begins with.

use std::collections::BTreeSet;

/// The indices of `KEYS` or `ARGV` that a header documents.
#[derive(Default)]
pub(super) struct Documented {
    pub(super) indices: BTreeSet<u32>,
    /// `ARGV[3..]` documents all from the third on, and `ARGV[n]` all.
    pub(super) from: Option<u32>,
    /// `KEYS[n]`: any number, which need not be used by name: keys are declared for routing.
    pub(super) any: bool,
}

pub(super) struct Header {
    lines: Vec<String>,
}

/// The leading comment, behind a shebang if there is one, and what follows it.
pub(super) fn split(source: &str) -> (String, String) {
    let source = match source.strip_prefix("#!") {
        Some(rest) => rest.split_once('\n').map_or("", |(_, rest)| rest),
        None => source,
    };
    let is_header = |line: &&str| line.starts_with("--");
    let header: Vec<_> = source.lines().take_while(is_header).collect();
    let body: Vec<_> = source.lines().skip(header.len()).collect();
    (header.join("\n"), body.join("\n"))
}

impl Header {
    pub(super) fn parse(text: &str) -> Self {
        let lines =
            text.lines().map(|line| line.strip_prefix("--").unwrap_or(line).trim().to_owned());
        Self { lines: lines.filter(|line| !line.is_empty()).collect() }
    }

    /// What every header has, and this one lacks.
    pub(super) fn incomplete(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if !self.lines.first().is_some_and(|line| is_prose(line)) {
            wrong.push("the header says nothing of what it does".to_owned());
        }
        if !self.lines.iter().any(|line| line.starts_with("Returns")) {
            wrong.push("no `Returns` in the header".to_owned());
        }
        // `Script` reads its class from the line `-- Idempotent: yes`, to the letter; a reason for a
        // "no" may follow it.
        let class = |line: &String| {
            let class = line.strip_prefix("Idempotent: ").unwrap_or_default();
            class == "yes" || class == "no" || class.starts_with("no ") || class.starts_with("no,")
        };
        if !self.lines.iter().any(class) {
            wrong.push("no `Idempotent: yes` or `Idempotent: no` in the header".to_owned());
        }
        wrong
    }

    pub(super) fn documented(&self, array: &str) -> Documented {
        let mut documented = Documented::default();
        for line in &self.lines {
            let index = line.strip_prefix(array).and_then(|rest| rest.strip_prefix('['));
            let Some((index, _)) = index.and_then(|rest| rest.split_once(']')) else { continue };
            match index.split_once("..") {
                Some((from, _)) => documented.from = from.parse().ok(),
                None if index == "n" => (documented.from, documented.any) = (Some(1), true),
                None => documented.indices.extend(index.parse::<u32>().ok()),
            }
        }
        documented
    }
}

impl Documented {
    pub(super) fn covers(&self, index: u32) -> bool {
        self.indices.contains(&index) || self.from.is_some_and(|from| index >= from)
    }
}

fn is_prose(line: &str) -> bool {
    !["KEYS[", "ARGV[", "Returns", "Idempotent"].iter().any(|word| line.starts_with(word))
}
