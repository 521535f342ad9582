//! `cargo xtask figures`: what the docs quote is kept in `benchmarks/figures.json`, which `bench --record` and
//! `test --soak --record` write, and comes into the docs from there.
//!
//! A comment says where the number behind it comes from, in Markdown and in the docs of Rust code alike:
//! `<!--soak replay-local: lookups-->300,000`, or `<!--bench cache: local hit: ratio-->1.25`. A figure whose name has
//! `permille` in it is shown as a percentage. None begins a line: Markdown would take the whole line for HTML.

use crate::{
    Result,
    lint::{own_files, read, verdict},
    sh,
};
use clap::Args;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Write the figures of benchmarks/figures.json into the docs that quote them
#[derive(Args)]
pub(crate) struct Figures;

impl Figures {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let figures = load(&file())?;
        for file in docs()? {
            let text = read(&file)?;
            let (written, _, wrong) = rewrite(&text, &figures);
            for wrong in wrong {
                eprintln!("{file}: {wrong}");
            }
            if written != text {
                fs::write(sh::root().join(&file), written)?;
                println!("wrote {file}");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Each figure that says where it comes from is what was recorded there.
pub(crate) fn check() -> Result<String> {
    let figures = load(&file())?;
    let (mut findings, mut quoted) = (Vec::new(), 0);
    for file in docs()? {
        let text = read(&file)?;
        let (written, found, wrong) = rewrite(&text, &figures);
        quoted += found;
        findings.extend(wrong.into_iter().map(|wrong| format!("{file}: {wrong}")));
        let lines = text.lines().zip(written.lines()).zip(1..);
        for ((old, new), number) in lines.filter(|((old, new), _)| old != new) {
            findings.push(format!(
                "{file}:{number}: not what was recorded; `cargo xtask figures` writes it\n  {}\n  {}",
                old.trim(),
                new.trim()
            ));
        }
    }
    verdict(&findings, format!("{quoted} figures"))
}

/// Keeps what one benchmark or soak has found, and leaves the others as they are.
pub(crate) fn keep(kind: &str, name: &str, found: Value) -> Result<()> {
    keep_in(&file(), kind, name, found)
}

fn keep_in(file: &Path, kind: &str, name: &str, found: Value) -> Result<()> {
    let mut figures = load(file)?;
    figures[kind][name] = found;
    fs::write(file, serde_json::to_string_pretty(&figures)? + "\n")?;
    println!("recorded {kind} {name} in {}", file.display());
    Ok(())
}

fn file() -> PathBuf {
    sh::root().join("benchmarks/figures.json")
}

fn load(file: &Path) -> Result<Value> {
    if !file.exists() {
        return Ok(json!({}));
    }
    Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
}

fn docs() -> Result<Vec<String>> {
    let mut files = own_files(".md")?;
    // Here they are what is talked of.
    files.extend(own_files(".rs")?.into_iter().filter(|file| !file.starts_with("xtask/")));
    Ok(files)
}

/// The text with each figure as it was recorded, how many there are, and what is wrong with the others.
fn rewrite(text: &str, figures: &Value) -> (String, usize, Vec<String>) {
    let (mut written, mut found, mut wrong) = (String::new(), 0, Vec::new());
    let mut rest = text;
    while let Some((before, source, after)) = next(rest) {
        written.push_str(before);
        let number = number(after);
        found += 1;
        let shown = match shown(source, figures) {
            Ok(_) if number.is_empty() => Err(format!("{source}: no number behind it").into()),
            Ok(_) if begins_a_line(&written) => {
                Err(format!("{source}: at the beginning of a line, which would be HTML as a whole")
                    .into())
            }
            shown => shown,
        };
        written.push_str(shown.as_deref().unwrap_or(number));
        wrong.extend(shown.err().map(|why| why.to_string()));
        rest = &after[number.len()..];
    }
    written.push_str(rest);
    (written, found, wrong)
}

/// What stands before the next figure, its comment included; where that figure is from; and what begins with it.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let kinds = ["<!--soak ", "<!--bench "];
    let begin = kinds.iter().filter_map(|kind| text.find(kind)).min()?;
    let end = begin + text[begin..].find("-->")?;
    Some((&text[..end + 3], &text[begin + 4..end], &text[end + 3..]))
}

/// Whether nothing stands before the comment that ends here.
fn begins_a_line(written: &str) -> bool {
    let line = written.rsplit('\n').next().unwrap_or_default();
    line.trim_start_matches(['/', '!', ' ']).rfind("<!--") == Some(0)
}

/// The number that a text begins with, without what ends the sentence.
fn number(text: &str) -> &str {
    let of_number = |char: char| char.is_ascii_digit() || ",.%".contains(char);
    let end = text.find(|char| !of_number(char)).unwrap_or(text.len());
    text[..end].trim_end_matches([',', '.'])
}

/// A figure as it stands in docs.
fn shown(source: &str, figures: &Value) -> Result<String> {
    let unknown = || format!("{source}: no such figure is recorded");
    let (kind, path) = source.split_once(' ').ok_or_else(unknown)?;
    let (name, path) = path.split_once(": ").ok_or_else(unknown)?;
    let record = &figures[kind][name];
    if let Some((row, field)) = path.rsplit_once(": ") {
        let rows = record["rows"].as_array().into_iter().flatten();
        let row = rows.into_iter().find(|known| known["name"] == row).ok_or_else(unknown)?;
        let figure = row[field].as_f64().ok_or_else(unknown)?;
        return Ok(match field {
            "ratio" => format!("{figure:.2}"),
            _ if figure < 10.0 => format!("{figure:.1}"),
            _ => grouped(figure.round() as u64),
        });
    }
    let figure = ["figures", "sizes", "faults"].iter().find_map(|of| record[of][path].as_u64());
    let figure = figure.ok_or_else(unknown)?;
    Ok(match path.contains("permille") {
        true => format!("{}.{}%", figure / 10, figure % 10),
        false => grouped(figure),
    })
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Value {
        json!({
            "soak": {"replay": {"sizes": {"lookups": 300_000}, "figures": {"hit_permille": 738, "lost": 0}}},
            "bench": {"cache": {"rows": [{"name": "local hit", "ours": 80_123.4, "ratio": 1.254}]}},
        })
    }

    #[test]
    fn a_figure_is_written_as_it_was_recorded() {
        let text = "of <!--soak replay: lookups-->2, **<!--soak replay: hit_permille-->1.0%**.\n\
                    /// | <!--bench cache: local hit: ratio-->9 | <!--bench cache: local hit: ours-->1. <!-- x -->5";
        let (written, found, wrong) = rewrite(text, &figures());
        assert_eq!(
            written,
            "of <!--soak replay: lookups-->300,000, **<!--soak replay: hit_permille-->73.8%**.\n\
             /// | <!--bench cache: local hit: ratio-->1.25 | <!--bench cache: local hit: ours-->80,123. <!-- x -->5"
        );
        assert_eq!((found, wrong.len()), (4, 0));
        assert_eq!(rewrite(&written, &figures()).0, written);
    }

    #[test]
    fn what_was_never_recorded_is_told_and_left() {
        let text = "of <!--soak replay: gain-->1 <!--soak other: lost-->2 <!--bench cache: x: ratio-->3 <!--soak replay: lost-->none\n  <!--soak replay: lost-->0";
        let (written, found, wrong) = rewrite(text, &figures());
        assert_eq!((&*written, found, wrong.len()), (text, 5, 5));
    }

    #[test]
    fn recording_one_keeps_the_others() {
        let file = std::env::temp_dir().join(format!("russet-figures-{}.json", std::process::id()));
        keep_in(&file, "bench", "cache", json!({"rows": []})).unwrap();
        keep_in(&file, "soak", "replay", json!({"figures": {"lost": 0}})).unwrap();
        keep_in(&file, "soak", "replay", json!({"figures": {"lost": 1}})).unwrap();
        let kept = load(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(kept["bench"]["cache"]["rows"].is_array());
        assert_eq!(shown("soak replay: lost", &kept).unwrap(), "1");
    }
}
