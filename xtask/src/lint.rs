//! `cargo xtask lint`: everything that is checked without a server.

mod cargo;
mod files;
mod keys;
mod metrics;
mod names;
mod rust_text;
mod scripts;

use crate::{Result, figures, sh};
use clap::Args;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

/// Check formatting, lints, docs, features, scripts, key layouts and dependencies
#[derive(Args)]
pub(crate) struct Lint {
    /// Leave out cargo-deny and the semver checks, which need tools that are slow to install
    #[arg(long)]
    quick: bool,
    /// Only the check with this name, as the table has it
    #[arg(long, value_name = "CHECK", conflicts_with = "quick")]
    only: Option<String>,
}

/// One check: an error lists what is wrong; the text of a success is a remark for the table.
type Check = (&'static str, fn() -> Result<String>);

const QUICK: [Check; 10] = [
    ("file sizes", files::sizes),
    ("Lua scripts", scripts::check),
    ("key layouts", keys::check),
    ("figures", figures::check),
    ("metric names", metrics::check),
    ("fred stays in core-conn", names::check),
    ("rustfmt", cargo::fmt),
    ("clippy", cargo::clippy),
    ("rustdoc", cargo::doc),
    ("each feature alone", cargo::features),
];
const FULL: [Check; 2] = [("cargo-deny", cargo::deny), ("semver", cargo::semver)];

impl Lint {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let full = if self.quick { &[][..] } else { &FULL[..] };
        let chosen = |name: &str| self.only.as_ref().is_none_or(|only| only == name);
        let mut rows = Vec::new();
        for (name, check) in QUICK.iter().chain(full).filter(|(name, _)| chosen(name)) {
            eprintln!("lint: {name}");
            let start = Instant::now();
            let result = check();
            if let Err(error) = &result {
                eprintln!("{error}\n");
            }
            rows.push((*name, result, start.elapsed()));
        }
        if rows.is_empty() {
            let names: Vec<_> = QUICK.iter().chain(full).map(|(name, _)| *name).collect();
            return Err(format!("no such check; there are {}", names.join(", ")).into());
        }
        println!("{}", table(&rows));
        let bad: Vec<_> =
            rows.iter().filter(|(_, result, _)| result.is_err()).map(|row| row.0).collect();
        if bad.is_empty() {
            println!("lint: {} checks, all good", rows.len());
            return Ok(ExitCode::SUCCESS);
        }
        println!("lint: {} of {} checks failed: {}", bad.len(), rows.len(), bad.join(", "));
        Ok(ExitCode::FAILURE)
    }
}

fn table(rows: &[(&str, Result<String>, Duration)]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["check", "result", "s", "remarks"]);
    for (name, result, time) in rows {
        let (word, remark) = match result {
            Ok(remark) => ("ok", remark.clone()),
            Err(error) => {
                let text = error.to_string();
                ("FAILED", text.lines().next().unwrap_or_default().chars().take(80).collect())
            }
        };
        table.add_row([*name, word, &format!("{:.1}", time.as_secs_f64()), &remark]);
    }
    table
}

/// Findings of one check: none is a success with this remark.
pub(crate) fn verdict(findings: &[String], remark: String) -> Result<String> {
    if findings.is_empty() { Ok(remark) } else { Err(findings.join("\n").into()) }
}

/// The repository's own files that end so, as paths from its root: tracked, or new and not ignored.
pub(crate) fn own_files(ending: &str) -> Result<Vec<String>> {
    let listed = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let listed = sh::output(sh::command("git").args(listed))?;
    let files = listed.lines().filter(|file| file.ends_with(ending));
    Ok(files.filter(|file| sh::root().join(file).is_file()).map(str::to_owned).collect())
}

pub(crate) fn read(file: &str) -> Result<String> {
    std::fs::read_to_string(sh::root().join(file))
        .map_err(|error| format!("{file}: {error}").into())
}
