//! The checks that cargo and its tools make.

use crate::{Result, sh};
use serde_json::Value;
use std::process::Command;

/// The links of core-conn: a package that hands them on is nothing without one of them, and other features stand beside
/// the first.
const LINKS: [&str; 2] = ["fred", "redis-rs"];

pub(super) fn fmt() -> Result<String> {
    sh::run(sh::cargo().args(["fmt", "--all", "--check"]))?;
    let benchmarks = ["fmt", "--all", "--check", "--manifest-path", "benchmarks/Cargo.toml"];
    sh::run(sh::cargo().args(benchmarks))?;
    Ok(String::new())
}

pub(super) fn clippy() -> Result<String> {
    let all = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    sh::run(sh::cargo().args(all))?;
    Ok(String::new())
}

pub(super) fn doc() -> Result<String> {
    let doc = ["doc", "--workspace", "--all-features", "--no-deps"];
    sh::run(sh::cargo().args(doc).env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(String::new())
}

/// Each feature of each published crate by itself, and each crate without any.
pub(super) fn features() -> Result<String> {
    let sets = feature_sets(&metadata()?);
    for (package, features) in &sets {
        let mut check = sh::cargo();
        check.args(["check", "--quiet", "-p", package, "--no-default-features"]);
        if !features.is_empty() {
            check.args(["--features", features]);
        }
        // Not by RUSTFLAGS: another value there would build every dependency once more.
        let (status, said) = sh::captured(&mut check)?;
        if !status.success() || said.contains("warning") {
            return Err(format!("{}\n{}", sh::shown(&check), said.trim_end()).into());
        }
    }
    Ok(format!("{} sets", sets.len()))
}

pub(super) fn deny() -> Result<String> {
    installed("cargo-deny", "0.20.2")?;
    sh::run(sh::cargo().args(["deny", "--all-features", "check", "licenses", "bans", "sources"]))?;
    let mut benchmarks = sh::cargo();
    benchmarks.args(["deny", "--manifest-path", "benchmarks/Cargo.toml", "--all-features"]);
    benchmarks.arg("--config").arg(sh::root().join("deny.toml"));
    sh::run(benchmarks.args(["check", "licenses", "bans", "sources"]))?;
    Ok("licences, bans, sources".to_owned())
}

/// Compares each published crate with its last release, which its tag marks.
pub(super) fn semver() -> Result<String> {
    let (mut compared, mut unreleased) = (0, 0);
    let metadata = metadata()?;
    for (_, package) in packages(&metadata).filter(|(package, _)| is_public(package)) {
        let pattern = format!("{package}-v*");
        let tags =
            sh::output(sh::command("git").args(["tag", "--list", &pattern, "--sort=-v:refname"]))?;
        let Some(tag) = tags.lines().next() else {
            unreleased += 1;
            continue;
        };
        installed("cargo-semver-checks", "0.51.0")?;
        let check =
            ["semver-checks", "--package", package, "--all-features", "--baseline-rev", tag];
        sh::run(sh::cargo().args(check))?;
        compared += 1;
    }
    Ok(format!("{compared} compared, {unreleased} never released"))
}

/// Installs the tool if it is missing: a check that can't run is no check.
fn installed(tool: &str, version: &str) -> Result<()> {
    let name = tool.trim_start_matches("cargo-");
    if sh::works("cargo", &[name, "--version"]) {
        return Ok(());
    }
    eprintln!("lint: installing {tool} {version}, once; this takes some minutes");
    sh::run(Command::new("cargo").args(["install", "--locked", tool, "--version", version]))
}

fn metadata() -> Result<Value> {
    let json = sh::output(sh::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    Ok(serde_json::from_str(&json)?)
}

fn packages(metadata: &Value) -> impl Iterator<Item = (&Value, &str)> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages.filter_map(|package| Some((package, package["name"].as_str()?)))
}

/// The packages that go to the registry: `publish = false` is an empty list in the metadata.
fn is_public(package: &Value) -> bool {
    package["publish"].is_null()
}

/// Package and features of each set that must build.
fn feature_sets(metadata: &Value) -> Vec<(String, String)> {
    let mut sets = Vec::new();
    for (package, name) in packages(metadata).filter(|(package, _)| is_public(package)) {
        let features = package["features"].as_object().into_iter().flatten().map(|(name, _)| name);
        let (links, features): (Vec<_>, Vec<_>) = features
            .filter(|feature| *feature != "default")
            .partition(|feature| LINKS.contains(&feature.as_str()));
        let mut set = |features: String| sets.push((name.to_owned(), features));
        match links.is_empty() {
            true => set(String::new()),
            false => links.iter().for_each(|link| set((*link).clone())),
        }
        for feature in features {
            match links.first() {
                Some(link) => set(format!("{link},{feature}")),
                None => set(feature.clone()),
            }
        }
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn example() -> Value {
        json!({"packages": [
            {"name": "russet-cache", "publish": null, "features": {"default": [], "metrics": []}},
            {"name": "russet-core-conn", "publish": null,
             "features": {"default": ["fred"], "fred": [], "redis-rs": [], "zstd": []}},
            {"name": "xtask", "publish": [], "features": {"x": []}},
        ]})
    }

    #[test]
    fn each_feature_stands_alone_beside_what_its_crate_needs() {
        let sets = feature_sets(&example());
        let set = |package: &str, features: &str| (package.to_owned(), features.to_owned());
        let expected = [
            set("russet-cache", ""),
            set("russet-cache", "metrics"),
            set("russet-core-conn", "fred"),
            set("russet-core-conn", "redis-rs"),
            set("russet-core-conn", "fred,zstd"),
        ];
        assert_eq!(sets, expected);
    }
}
