//! rate-limiter-flexible: a process of Node, with the package as it is published. Without Node there is no such row.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use russet_benchmarks::{Result, Suite, rivals::RUSSET};
use russet_ratelimit::{Limiter, Quota};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::{LIMIT, MINUTE, decision};

const DRIVER: &str = include_str!("flexible.mjs");
const PACKAGES: [&str; 2] = ["rate-limiter-flexible@11", "ioredis@5"];
const NAME: &str = "rate-limiter-flexible 11, RateLimiterRedis over ioredis 5, a process of Node";
const TASKS: usize = 64;

pub(crate) async fn row(suite: &mut Suite, limiter: &Limiter) -> Result {
    const ROW: &str = "vs rate-limiter-flexible";
    if !suite.runs(ROW) {
        return Ok(());
    }
    let Some(folder) = installed().await? else {
        eprintln!("{ROW}: skipped: neither node nor npm is here");
        return Ok(());
    };
    let node = tokio::sync::Mutex::new(Node::start(&folder, suite.url()).await?);
    let limit = limiter.limit("fixed", Quota::fixed(LIMIT, MINUTE)?)?;
    let row = suite.row(ROW).tasks(TASKS).window(Duration::from_millis(200)).floor(Some(1.0));
    row.run_beside(
        (RUSSET, decision(&limit)),
        (NAME, async |window| node.lock().await.run(window).await),
    )
    .await
}

/// The folder with the packages, in the target folder; installed there by whoever comes first.
async fn installed() -> Result<Option<PathBuf>> {
    let found = async |tool: &str| {
        let version = Command::new(tool).arg("--version").stdout(Stdio::null()).status().await;
        version.is_ok_and(|status| status.success())
    };
    if !(found("node").await && found("npm").await) {
        return Ok(None);
    }
    let binary = std::env::current_exe()?;
    let folder = binary.parent().ok_or("a folder")?.join("rate-limiter-flexible");
    std::fs::create_dir_all(&folder)?;
    if !folder.join("node_modules/ioredis").exists() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"]).arg(&folder);
        if !npm.args(PACKAGES).status().await?.success() {
            return Err("npm can't install the rival".into());
        }
    }
    std::fs::write(folder.join("driver.mjs"), DRIVER)?;
    Ok(Some(folder))
}

struct Node {
    _child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Node {
    async fn start(folder: &Path, url: &str) -> Result<Self> {
        let mut child = Command::new("node")
            .arg(folder.join("driver.mjs"))
            .args([url, &TASKS.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let mut node = Self { _child: child, input, lines };
        node.line().await?;
        Ok(node)
    }

    /// Decisions a second.
    async fn run(&mut self, window: Duration) -> Result<f64> {
        self.input.write_all(format!("{}\n", window.as_millis()).as_bytes()).await?;
        Ok(self.line().await?.parse()?)
    }

    async fn line(&mut self) -> Result<String> {
        Ok(self.lines.next_line().await?.ok_or("the process of Node has ended")?)
    }
}
