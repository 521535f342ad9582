//! What long tests share: their seed, and the file that says what they found.

use std::path::PathBuf;
use std::process::Command;

/// The seed of this run: of `RUSSET_SEED`, or fixed.
#[must_use]
pub fn seed() -> u64 {
    std::env::var("RUSSET_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7)
}

/// Writes what a long test did, met and measured to `target/soak/<name>.json` of the workspace in which it runs, and
/// prints it. For a test that has passed.
///
/// # Panics
/// Where the file can't be written.
#[expect(clippy::expect_used, clippy::print_stdout, reason = "it is for tests")]
pub fn record(
    name: &str,
    server: &str,
    sizes: &[(&str, u64)],
    faults: &[(&str, u64)],
    figures: &[(&str, u64)],
) {
    let git = Command::new("git").args(["rev-parse", "HEAD"]).output().expect("git");
    let commit = String::from_utf8_lossy(&git.stdout).trim().to_owned();
    let object = |pairs: &[(&str, u64)]| {
        let pairs: Vec<_> = pairs.iter().map(|(key, n)| format!("\"{key}\": {n}")).collect();
        format!("{{{}}}", pairs.join(", "))
    };
    let report = format!(
        "{{\"name\": \"{name}\", \"commit\": \"{commit}\", \"server\": \"{server}\", \"seed\": {}, \"sizes\": {}, \
         \"faults\": {}, \"figures\": {}, \"result\": \"passed\"}}\n",
        seed(),
        object(sizes),
        object(faults),
        object(figures),
    );
    // Tests run in the folder of their package.
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let folder = PathBuf::from("../..").join(target).join("soak");
    std::fs::create_dir_all(&folder).expect("a folder for what was found");
    std::fs::write(folder.join(format!("{name}.json")), &report).expect("a file for it");
    print!("{report}");
}
