use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::process::stopped;
use crate::{Error, Result};

/// How long a word is waited for.
const WORD: Duration = Duration::from_secs(60);

/// The test program, started once more to run one of its tests as a process of its own: an ignored one, which does nothing
/// where its variables are not set. Killed when it is dropped.
///
/// They talk by lines. What the test harness prints is between them, so that a line which it begins may be cut: print a
/// line's end before each word.
///
/// ```no_run
/// # async fn run() -> russet_testkit::Result<()> {
/// use russet_testkit::TestProcess;
///
/// // #[tokio::test] #[ignore = "the process that others start"]
/// // async fn worker() {
/// //     let Ok(url) = std::env::var("WORKER_URL") else { return };
/// //     println!("\nready");
/// let mut worker = TestProcess::start("worker", [("WORKER_URL", "redis://localhost")])?;
/// worker.says("ready").await?;
/// worker.kill().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TestProcess {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl TestProcess {
    /// Starts this program for this test alone, by its whole name, with these variables.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn start<V: AsRef<OsStr>>(
        test: &str,
        variables: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Result<TestProcess> {
        let program = std::env::current_exe().map_err(Error::io("find this program"))?;
        let mut child = Command::new(program)
            .args(["--exact", test, "--ignored", "--nocapture"])
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io("start this program once more"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or(Error::NotRunning)?;
        Ok(TestProcess { child, input, lines: BufReader::new(output).lines() })
    }

    /// Its process id; `None` once its end was waited for.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends it a line.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when its input is [closed](Self::close_input), [`Error::Io`].
    pub async fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().ok_or(Error::NotRunning)?;
        let line = format!("{line}\n");
        input.write_all(line.as_bytes()).await.map_err(Error::io("tell a process"))
    }

    /// Ends its input: for one that waits for that.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// The next line that it prints; `None` at its end.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn line(&mut self) -> Result<Option<String>> {
        self.lines.next_line().await.map_err(Error::io("read from a process"))
    }

    /// Waits for a line that is this word, or begins with it and a space, and gives the rest. Other lines are passed over.
    ///
    /// # Errors
    /// [`Error::Timeout`] after a minute, [`Error::Closed`] where it ended without the word, [`Error::Io`].
    pub async fn says(&mut self, word: &str) -> Result<String> {
        let reading = async {
            while let Some(line) = self.line().await? {
                match line.strip_prefix(word) {
                    Some("") => return Ok(String::new()),
                    Some(rest) if rest.starts_with(' ') => return Ok(rest.trim().to_owned()),
                    _ => {}
                }
            }
            Err(Error::Closed)
        };
        let late = Error::Timeout { what: "a word of a process", after: WORD };
        tokio::time::timeout(WORD, reading).await.unwrap_or(Err(late))
    }

    /// Stops it with SIGSTOP, and returns when it has stopped.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Io`], [`Error::Timeout`].
    pub async fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        stopped(self.id().ok_or(Error::NotRunning)?).await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Io`].
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it, and waits for its end.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.map_err(Error::io("kill a process"))
    }

    /// Waits for its end; whether its test passed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn ended(&mut self) -> Result<bool> {
        let status = self.child.wait().await.map_err(Error::io("wait for a process"))?;
        Ok(status.success())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.ok_or(Error::NotRunning)?;
        kill_process(pid, signal).map_err(|errno| Error::io("signal a process")(errno.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[ignore = "the process that another starts"]
    async fn echo() {
        if std::env::var("RUSSET_TEST_ECHO").is_err() {
            return;
        }
        println!("\nready");
        for line in std::io::stdin().lines() {
            println!("\nheard {}", line.unwrap());
        }
        println!("\nover");
    }

    #[tokio::test]
    async fn what_it_is_told_it_says() {
        let name = "test_process::tests::echo";
        let mut process = TestProcess::start(name, [("RUSSET_TEST_ECHO", "1")]).unwrap();
        assert_eq!(process.says("ready").await.unwrap(), "");
        process.tell("one two").await.unwrap();
        assert_eq!(process.says("heard").await.unwrap(), "one two");
        process.pause().await.unwrap();
        process.tell("three").await.unwrap();
        let silent = tokio::time::timeout(Duration::from_millis(50), process.line()).await;
        assert!(!matches!(silent, Ok(Ok(Some(line))) if line.starts_with("heard")));
        process.resume().unwrap();
        assert_eq!(process.says("heard").await.unwrap(), "three");
        process.close_input();
        assert!(matches!(process.tell("four").await, Err(Error::NotRunning)));
        process.says("over").await.unwrap();
        assert!(matches!(process.says("more").await, Err(Error::Closed)));
        assert!(process.ended().await.unwrap());
        assert!(matches!(process.pause().await, Err(Error::NotRunning)));
        let mut process = TestProcess::start(name, [("RUSSET_TEST_ECHO", "1")]).unwrap();
        process.kill().await.unwrap();
        assert!(!process.ended().await.unwrap());
    }
}
