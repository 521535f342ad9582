//! The link over redis-rs's multiplexed connection.
//!
//! The stream is ours, opened as the hub opens its own, and so are the first words on it: redis-rs would tell of a
//! refusal in words of its own. What it does by itself is turned off: no timeout, no limit, no name of a library.
//!
//! Its parser takes only what the server marks as a push for one, so a stored word never looks like pub/sub. It is
//! lenient, and takes any negative length for nil. Two things it can't read end the connection, and their callers are
//! told that the outcome is unknown: an error or a status whose words are not UTF-8, and a reply nested deeper than 100.
//!
//! A call that is dropped before the connection's task has taken it is never sent.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use tokio::task::{AbortHandle, JoinHandle};

use self::ear::{Ear, Heard};
pub(super) use self::line::Line;
use self::line::Order;
use super::seat::{Caller, Seated, Seats};
use super::{LinkError, Request};
use crate::cmd::Cmd;
use crate::credentials::Credentials;
use crate::error::{Error, ErrorKind};
use crate::target::Target;

mod command;
mod ear;
mod line;
mod reply;

/// The most requests between callers and the connection's task. Callers are counted above this link, so it only has to
/// be out of their way: one who waited here would cost a wake-up more.
const QUEUE: usize = 1 << 16;

#[derive(Debug)]
pub(crate) struct RedisRsLink {
    line: Line,
    task: AbortHandle,
    seats: Seats<Line>,
}

/// The task that reads and writes.
#[derive(Debug)]
pub(crate) struct RedisRsEnd {
    task: JoinHandle<()>,
    heard: Heard,
}

impl RedisRsLink {
    pub(super) async fn open(
        target: &Target,
        credentials: Option<&Credentials>,
    ) -> Result<(Self, RedisRsEnd), LinkError> {
        let stream = target.connect().await.map_err(not_connected)?;
        let heard = Heard::default();
        let stream = Ear::new(stream, heard.clone());
        // Nothing is said here: the protocol is chosen below, and the parser knows both.
        let silent = RedisConnectionInfo::default().set_skip_set_lib_name();
        let opened = MultiplexedConnection::new_with_config(&silent, stream, config()).await;
        let (connection, driver) = opened.map_err(|error| reply::lost(&error, &heard))?;
        let task = tokio::spawn(driver);
        // Owned from here on: dropping it aborts the task.
        let link = Self {
            line: Line::new(connection, heard.clone()),
            task: task.abort_handle(),
            seats: Seats::new(task.abort_handle(), false),
        };
        link.introduce(target, credentials).await?;
        Ok((link, RedisRsEnd { task, heard }))
    }

    /// Protocol and user, database, name, and what a replica may answer.
    async fn introduce(
        &self,
        target: &Target,
        credentials: Option<&Credentials>,
    ) -> Result<(), LinkError> {
        let access = &target.access;
        let mut hello = Cmd::internal("HELLO").arg(3);
        if let Some(credentials) = credentials {
            let user = credentials.user().unwrap_or("default");
            hello = hello.arg("AUTH").arg(user).arg(credentials.secret());
        }
        self.tell(&hello).await?;
        // Where each connection begins needs no SELECT, for which a user may lack the right.
        if let Some(database) = access.database.filter(|&database| database != 0) {
            self.tell(&Cmd::internal("SELECT").arg(database)).await?;
        }
        if let Some(name) = &access.name {
            self.tell(&Cmd::internal("CLIENT SETNAME").arg(name)).await?;
        }
        if access.stale_reads {
            self.tell(&Cmd::internal("READONLY")).await?;
        }
        Ok(())
    }

    /// By an order that is not kept: nothing of a password stays in a buffer for the next call.
    async fn tell(&self, cmd: &Cmd) -> Result<(), LinkError> {
        let mut order = Order::default();
        Line::note(Request::Cmd(cmd), &mut order);
        self.line.clone().carry_out(&mut order).await.map(drop)
    }

    /// The request is in line with the first poll.
    #[inline]
    pub(super) fn call(&self, request: Request<'_>) -> Seated<'_, Line> {
        self.seats.seat(&self.line, request)
    }

    pub(super) async fn quit(&self) {
        // It fails only where the connection is gone already.
        let _ = self.tell(&Cmd::internal("QUIT")).await;
    }

    pub(super) fn abort(&self) {
        self.task.abort();
    }
}

/// Also of a link that is dropped before it is open.
impl Drop for RedisRsLink {
    fn drop(&mut self) {
        self.abort();
    }
}

impl RedisRsEnd {
    pub(super) async fn wait(&mut self) -> String {
        match (&mut self.task).await {
            Ok(()) => self.heard.why(),
            Err(error) if error.is_cancelled() => "aborted".into(),
            Err(error) => error.to_string(),
        }
    }
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        // Whoever opens a link is the one who knows when it has taken too long; so is whoever calls.
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE)
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn not_connected(error: Error) -> LinkError {
    LinkError::Lost(match error.kind() {
        ErrorKind::Connect(reason) => reason.clone(),
        kind => kind.to_string(),
    })
}
