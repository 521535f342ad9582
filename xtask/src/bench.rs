//! `cargo xtask bench`: our hot operations beside their rivals, on a server of their own.

use crate::{
    Result, figures,
    server::{self, Binary, Wanted},
    sh,
};
use clap::Args;
use russet_testkit::Server;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

/// Run the benchmarks, ours and the rival in turn, and judge the ratios
#[derive(Args)]
pub(crate) struct Bench {
    /// Which: core, cluster, hub, cache, breaker, lease or ratelimit [default: all]
    name: Option<String>,
    /// The server: a path, redis-7, redis-8 or valkey-9 [default: one that is here, or installed]
    #[arg(long)]
    server: Option<Wanted>,
    /// Report only: a ratio below its floor is told and fails nothing
    #[arg(long)]
    report: bool,
    /// Keep the figures in benchmarks/figures.json, from where the docs take them
    #[arg(long)]
    record: bool,
    /// Only the rows that contain one of these, behind `--`
    #[arg(last = true, conflicts_with = "record")]
    rows: Vec<String>,
}

/// The benchmarks: of each its parts, a binary of `benchmarks/` and the features that it is built with.
///
/// Ours is built as a program has it that has chosen one link: another beside it, or TLS, makes all calls dearer.
const BENCHES: [(&str, &[(&str, &str)]); 7] = [
    ("core", &[("core", "fred"), ("links", "fred,redis-rs,tls")]),
    ("cluster", &[("cluster", "fred"), ("cluster", "redis-rs")]),
    ("hub", &[("hub", "fred")]),
    ("cache", &[("cache", "fred"), ("cache", "fred,caches"), ("cache", "redis-rs,caches")]),
    ("breaker", &[("breaker", "fred")]),
    ("lease", &[("lease", "fred")]),
    (
        "ratelimit",
        &[
            ("ratelimit", "fred"),
            ("ratelimit", "fred,limiters"),
            ("ratelimit", "redis-rs,limiters"),
        ],
    ),
];

/// What each row has, and nothing else.
const FIELDS: [&str; 8] = ["name", "unit", "ours", "other", "against", "ratio", "floor", "pairs"];

impl Bench {
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        let asked = |known: &str| self.name.as_ref().is_none_or(|name| known == name);
        let benches = Vec::from_iter(BENCHES.into_iter().filter(|(known, _)| asked(known)));
        if benches.is_empty() {
            let known = BENCHES.map(|(known, _)| known).join(", ");
            return Err(format!("{:?} is none of {known}", self.name).into());
        }
        let binary = server::find(self.server.as_ref().unwrap_or(&Wanted::Any))?;
        let mut slow = Vec::new();
        for (name, parts) in benches {
            let mut all = Vec::new();
            for part in parts {
                // A server each, so that one benchmark's keys are no load on the next.
                let server = Server::builder().binary(&binary.path).start().await?;
                eprintln!("bench: {name} on {binary}");
                all.extend(self.part(*part, &server.url(), &binary.path)?);
            }
            let rows = self.keep(name, all)?;
            slow.extend(below_floor(&rows).into_iter().map(|row| format!("{name}: {row}")));
            if self.record {
                record(name, &rows, &binary)?;
            }
        }
        for row in &slow {
            println!("BELOW ITS FLOOR  {row}");
        }
        Ok(if slow.is_empty() || self.report { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn part(&self, part: (&str, &str), url: &str, server: &Path) -> Result<Vec<Value>> {
        let (binary, features) = part;
        let file = folder()?.join(format!("{binary}.part.json"));
        let mut cargo = sh::cargo();
        cargo.args(["run", "--release", "--manifest-path", "benchmarks/Cargo.toml"]);
        cargo.args(["--no-default-features", "--features", features, "--bin", binary]);
        cargo.arg("--").args(&self.rows);
        cargo.env("RUSSET_BENCH_URL", url).env("RUSSET_BENCH_OUT", &file);
        // For a benchmark that starts another one by itself.
        cargo.env("RUSSET_SERVER", server);
        sh::run(&mut cargo)?;
        let rows = serde_json::from_str(&fs::read_to_string(&file)?)?;
        fs::remove_file(file)?;
        Ok(rows)
    }

    /// Writes the rows of all parts, where there is one: of those asked for a part may have none.
    fn keep(&self, name: &str, all: Vec<Value>) -> Result<Value> {
        let file = folder()?.join(format!("{name}.json"));
        let rows = Value::Array(all);
        check_shape(&rows).map_err(|wrong| format!("{}: {wrong}", file.display()))?;
        // A row a line, so that a diff of figures can be read.
        let lines = Vec::from_iter(rows_of(&rows).map(Value::to_string));
        fs::write(&file, format!("[\n{}\n]\n", lines.join(",\n")))?;
        println!("wrote {}", file.display());
        Ok(rows)
    }
}

fn folder() -> Result<PathBuf> {
    let folder = sh::target().join("bench");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn rows_of(rows: &Value) -> impl Iterator<Item = &Value> {
    rows.as_array().into_iter().flatten()
}

/// The format that other tools read is kept to the letter.
fn check_shape(all: &Value) -> Result<()> {
    if rows_of(all).next().is_none() {
        return Err("no rows".into());
    }
    for row in rows_of(all) {
        let fields = row.as_object().ok_or("a row is no object")?;
        if fields.len() != FIELDS.len() || !FIELDS.iter().all(|field| fields.contains_key(*field)) {
            return Err(format!("a row has not exactly {}: {row}", FIELDS.join(", ")).into());
        }
        if row["pairs"].as_array().is_none_or(|pairs| pairs.len() < 5) {
            return Err(format!("fewer than five pairs: {}", row["name"]).into());
        }
    }
    Ok(())
}

/// The rows whose ratio is below its floor; a floor of null is only reported.
fn below_floor(all: &Value) -> Vec<String> {
    let judged = rows_of(all).filter_map(|row| {
        let floor = row["floor"].as_f64()?;
        // A ratio that is no number is below every floor.
        let reached = row["ratio"].as_f64().is_some_and(|ratio| ratio >= floor);
        (!reached).then(|| {
            let [name, ratio, against] = ["name", "ratio", "against"].map(|field| &row[field]);
            format!("{name} is {ratio} of {against}, floor {floor}")
        })
    });
    judged.collect()
}

/// What is kept beside the rows, so that they can be told apart from another machine's.
/// Without the pairs behind each figure, which are in `target/bench`.
fn record(name: &str, rows: &Value, binary: &Binary) -> Result<()> {
    let mut rows = rows.clone();
    for row in rows.as_array_mut().into_iter().flatten() {
        if let Some(row) = row.as_object_mut() {
            row.remove("pairs");
        }
    }
    let commit = sh::output(sh::command("git").args(["describe", "--always", "--dirty"]))?;
    let found = json!({
        "commit": commit.trim(),
        "server": binary.to_string(),
        "cores": thread::available_parallelism()?.get(),
        "rows": rows,
    });
    figures::keep("bench", name, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ratio: Option<f64>, floor: Option<f64>) -> Value {
        json!({"name": "get 64", "unit": "ops/s", "ours": 9.0, "other": 10.0, "against": "fred",
               "ratio": ratio, "floor": floor, "pairs": [[9, 10], [9, 10], [9, 10], [9, 10], [9, 10]]})
    }

    #[test]
    fn a_ratio_below_its_floor_is_found_and_a_reported_one_is_not() {
        let rows = json!([row(Some(0.9), Some(0.95)), row(Some(0.96), Some(0.95))]);
        assert_eq!(below_floor(&rows), ["\"get 64\" is 0.9 of \"fred\", floor 0.95"]);
        assert!(below_floor(&json!([row(Some(0.1), None)])).is_empty());
        assert_eq!(below_floor(&json!([row(None, Some(0.95))])).len(), 1);
    }

    #[test]
    fn another_shape_is_refused() {
        assert!(check_shape(&json!([row(Some(1.0), Some(1.0))])).is_ok());
        assert!(check_shape(&json!([])).is_err());
        let mut more = row(Some(1.0), Some(1.0));
        more["host"] = json!("here");
        assert!(check_shape(&json!([more])).is_err());
        let mut few = row(Some(1.0), Some(1.0));
        few["pairs"] = json!([[1, 2]]);
        assert!(check_shape(&json!([few])).is_err());
    }
}
