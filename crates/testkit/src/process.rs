use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::{Error, Result};

/// A server process and its folder, both of which end with this value or with the process that holds it.
///
/// A guardian (`/bin/sh`) is the server's parent. It waits for the end of a pipe that only we hold, and then kills
/// the server, stopped or not, and removes the folder. Both are in a process group of their own: Ctrl-C in a terminal
/// reaches us first.
pub(crate) struct Process {
    dir: PathBuf,
    log: PathBuf,
    guardian: Mutex<Guardian>,
    life: watch::Receiver<Life>,
}

/// What the guardian reported last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Not started yet.
    New,
    /// Started for the `run`th time.
    Running { run: u64, pid: u32 },
    /// The `run`th run is over, and the process is gone.
    Exited { run: u64, status: i32 },
    /// The guardian is gone.
    Lost,
}

struct Guardian {
    child: Child,
    /// None once it was told to end.
    pipe: Option<ChildStdin>,
    started: u64,
}

impl Process {
    /// Takes over the folder. Nothing runs before [`Process::start`].
    pub(crate) fn new(folder: TempDir, binary: &Path, args: &[&Path]) -> Result<Process> {
        let dir = folder.path().to_owned();
        let log = dir.join("server.log");
        let script = dir.join("guardian.sh");
        fs::write(&script, include_str!("guardian.sh")).map_err(Error::io("write the guardian"))?;
        let mut child = Command::new("/bin/sh")
            .args([&script, &dir, &log])
            .arg(binary)
            .args(args)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::io("start /bin/sh as the guardian"))?;
        // Now the guardian removes it.
        let _ = folder.keep();
        let pipe = child.stdin.take();
        let (told, life) = watch::channel(Life::New);
        if let Some(reports) = child.stdout.take() {
            // A thread, because a server may be shared by tests that each have their own runtime.
            std::thread::Builder::new()
                .name("russet-guardian".to_owned())
                .spawn(move || listen(reports, &told))
                .map_err(Error::io("start a thread"))?;
        }
        Ok(Process { dir, log, guardian: Mutex::new(Guardian { child, pipe, started: 0 }), life })
    }

    /// Starts the command, and returns when it has been forked. It may be over by then: see [`Process::life`].
    pub(crate) async fn start(&self) -> Result<()> {
        let run = {
            let mut guardian = self.guardian.lock().unwrap_or_else(PoisonError::into_inner);
            let pipe = guardian.pipe.as_mut().ok_or(Error::GuardianLost)?;
            pipe.write_all(b"start\n").map_err(|_| Error::GuardianLost)?;
            guardian.started += 1;
            guardian.started
        };
        let after = Duration::from_secs(10);
        let begun = self.wait_for(after, "start of the process", |life| match life {
            Life::Running { run: n, .. } | Life::Exited { run: n, .. } => n == run,
            Life::Lost => true,
            Life::New => false,
        });
        match begun.await? {
            Life::Running { .. } | Life::Exited { .. } => Ok(()),
            Life::New | Life::Lost => Err(Error::GuardianLost),
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// All that the server has printed.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log)
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    pub(crate) fn life(&self) -> Life {
        *self.life.borrow()
    }

    /// None while nothing runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        match self.life() {
            Life::Running { pid, .. } => Some(pid),
            Life::New | Life::Exited { .. } | Life::Lost => None,
        }
    }

    /// Sends a signal to the server.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().ok_or(Error::NotRunning)?;
        send(pid, signal).map_err(Error::io(format!("signal process {pid}")))
    }

    /// Waits until nothing runs: the process is gone, not merely dying.
    pub(crate) async fn gone(&self, within: Duration) -> Result<()> {
        let gone = |life| !matches!(life, Life::Running { .. });
        self.wait_for(within, "end of the server process", gone).await.map(drop)
    }

    async fn wait_for(
        &self,
        within: Duration,
        what: &'static str,
        done: impl Fn(Life) -> bool,
    ) -> Result<Life> {
        let mut life = self.life.clone();
        match tokio::time::timeout(within, life.wait_for(|life| done(*life))).await {
            Ok(Ok(life)) => Ok(*life),
            Ok(Err(_)) => Err(Error::GuardianLost),
            Err(_) => Err(Error::Timeout { what, after: within }),
        }
    }
}

impl Drop for Process {
    /// Blocks for the few milliseconds until the server is gone and the folder removed.
    fn drop(&mut self) {
        let guardian = self.guardian.get_mut().unwrap_or_else(PoisonError::into_inner);
        guardian.pipe = None;
        let patience = Instant::now() + Duration::from_secs(5);
        while matches!(guardian.child.try_wait(), Ok(None)) && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Only needed when somebody has killed the guardian.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("dir", &self.dir)
            .field("life", &self.life())
            .finish_non_exhaustive()
    }
}

/// Turns the guardian's lines into what we know of the server's life.
fn listen(reports: ChildStdout, told: &watch::Sender<Life>) {
    let mut run = 0;
    for line in BufReader::new(reports).lines().map_while(Result::ok) {
        let life = match line.split_once(' ') {
            Some(("started", pid)) => pid.parse().ok().map(|pid| {
                run += 1;
                Life::Running { run, pid }
            }),
            Some(("exited", status)) => {
                status.parse().ok().map(|status| Life::Exited { run, status })
            }
            _ => None,
        };
        if let Some(life) = life {
            told.send_replace(life);
        }
    }
    if let Life::Running { pid, .. } = *told.borrow() {
        // Somebody killed the guardian: nobody else is left to end the server.
        let _ = send(pid, Signal::KILL);
    }
    told.send_replace(Life::Lost);
}

fn send(pid: u32, signal: Signal) -> std::io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
    Ok(kill_process(pid, signal)?)
}

/// Waits until a process that was told to stop has stopped.
pub(crate) async fn stopped(pid: u32) -> Result<()> {
    const AFTER: Duration = Duration::from_secs(10);
    let deadline = Instant::now() + AFTER;
    while has_stopped(pid) == Some(false) {
        if Instant::now() > deadline {
            return Err(Error::Timeout { what: "pause", after: AFTER });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Whether all threads of a process are stopped; None where the system does not say.
pub(crate) fn has_stopped(pid: u32) -> Option<bool> {
    let mut all = true;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let stat = fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
        // The state follows the name, which is in parentheses and may contain some.
        let (_, rest) = stat.rsplit_once(") ")?;
        all &= rest.starts_with(['T', 't']);
    }
    Some(all)
}
