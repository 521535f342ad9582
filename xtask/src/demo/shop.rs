//! The storefront's process. It ends with us, whatever ends us.

use super::Interrupts;
use crate::{Result, sh};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// How long the storefront may take to finish what is in flight.
const FAREWELL: Duration = Duration::from_secs(15);

pub(super) struct Shop {
    process: Child,
    pid: Pid,
    /// Ends the storefront when its input closes, which happens also when we are killed -9.
    guardian: Child,
}

pub(super) enum Ending {
    Itself(ExitStatus),
    Interrupted,
}

impl Shop {
    pub(super) fn open(arguments: &[String]) -> Result<Self> {
        let program = sh::target().join("release").join("russet-storefront");
        let mut command = Command::new(&program);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        // A group of its own: Ctrl-C reaches us, and we pass it on once. A second signal would tell
        // the storefront to leave at once.
        command.process_group(0);
        let process = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let id = process.id().ok_or("the storefront has ended already")?;
        let pid = Pid::from_raw(i32::try_from(id)?).ok_or("a process without an id")?;
        let guardian = Command::new("sh")
            .args(["-c", "read -r _; kill -TERM \"$1\"", "guardian", &id.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { process, pid, guardian })
    }

    /// Waits for its end, or for an interrupt, which ends it.
    pub(super) async fn until_ended(&mut self, interrupts: &mut Interrupts) -> Result<Ending> {
        let ending = tokio::select! {
            status = self.process.wait() => Ending::Itself(status?),
            () = interrupts.next() => {
                self.close(interrupts).await?;
                Ending::Interrupted
            }
        };
        // Before the process id can belong to another.
        self.guardian.kill().await?;
        Ok(ending)
    }

    /// Gracefully, and at once when it takes too long or the user insists.
    async fn close(&mut self, interrupts: &mut Interrupts) -> Result<()> {
        eprintln!("\nclosing the shop; Ctrl-C once more ends it at once");
        kill_process(self.pid, Signal::TERM)?;
        let closed = tokio::select! {
            closed = timeout(FAREWELL, self.process.wait()) => closed.is_ok(),
            () = interrupts.next() => false,
        };
        if !closed {
            self.process.kill().await?;
        }
        Ok(())
    }
}
