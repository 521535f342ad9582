//! The link over fred's centralized client.
//!
//! What fred does on its own is turned off: no reconnect policy, one attempt, no redirection, no timeout of its own.

use std::time::Duration;

use ::fred::clients::Client;
use ::fred::error::Error as FredError;
use ::fred::interfaces::{ClientLike, EventInterface};
use ::fred::types::RespVersion;
use ::fred::types::config::{Config, ConnectionConfig, PerformanceConfig, Server, ServerConfig};
use tokio::task::{AbortHandle, JoinHandle};

use self::reply::link_error;
use super::seat::{Seated, Seats};
use super::{LinkError, Request};
use crate::cmd::Cmd;
use crate::credentials::Credentials;
use crate::target::{Endpoint, Target};

mod command;
mod order;
mod reply;

#[derive(Debug)]
pub(crate) struct FredLink {
    client: Client,
    task: AbortHandle,
    seats: Seats<Client>,
}

/// fred's task. A call made after it has ended waits for ever, so whoever holds a link watches this.
#[derive(Debug)]
pub(crate) struct FredEnd(JoinHandle<Result<(), FredError>>);

impl FredLink {
    pub(super) async fn open(
        target: &Target,
        credentials: Option<&Credentials>,
    ) -> Result<(Self, FredEnd), LinkError> {
        let config = config(target, credentials);
        let client = Client::new(config, Some(performance()), Some(connection()), None);
        // Heard from before fred starts: it tells of its first connection, too.
        let mut connected = client.reconnect_rx();
        let task = client.connect();
        // Owned from here on: dropping it aborts fred's task.
        let seats = Seats::new(task.abort_handle(), target.access.gathers);
        let link = Self { client, task: task.abort_handle(), seats };
        let mut end = FredEnd(task);
        tokio::select! {
            biased;
            heard = connected.recv() => heard.map_err(|error| LinkError::Lost(error.to_string()))?,
            error = end.error() => return Err(error),
        };
        if let Some(name) = &target.access.name {
            let name = Cmd::idempotent("CLIENT SETNAME").arg(name);
            tokio::select! {
                biased;
                named = link.call(Request::Cmd(&name)) => named?,
                error = end.error() => return Err(error),
            };
        }
        if target.access.stale_reads {
            let readonly = Cmd::internal("READONLY");
            tokio::select! {
                biased;
                told = link.call(Request::Cmd(&readonly)) => told?,
                error = end.error() => return Err(error),
            };
        }
        Ok((link, end))
    }

    /// fred takes the request with the first poll, or soon after it where other calls are under way.
    #[inline]
    pub(super) fn call(&self, request: Request<'_>) -> Seated<'_, Client> {
        self.seats.seat(&self.client, request)
    }

    pub(super) async fn quit(&self) {
        // It fails only where the connection is gone already.
        let _ = self.client.quit().await;
    }

    pub(super) fn abort(&self) {
        self.task.abort();
    }
}

/// Also of a link that is dropped before it is open.
impl Drop for FredLink {
    fn drop(&mut self) {
        self.abort();
    }
}

impl FredEnd {
    pub(super) async fn wait(&mut self) -> String {
        match self.error().await {
            LinkError::Lost(reason) | LinkError::Server(reason) => reason,
        }
    }

    async fn error(&mut self) -> LinkError {
        match (&mut self.0).await {
            Ok(Ok(())) => LinkError::Lost("closed".into()),
            Ok(Err(error)) => link_error(&error),
            Err(error) if error.is_cancelled() => LinkError::Lost("aborted".into()),
            Err(error) => LinkError::Lost(error.to_string()),
        }
    }
}

fn config(target: &Target, credentials: Option<&Credentials>) -> Config {
    let mut config = Config {
        version: RespVersion::RESP3,
        username: credentials.and_then(Credentials::user).map(str::to_owned),
        password: credentials.map(|credentials| credentials.secret().to_owned()),
        // Where each connection begins needs no SELECT, for which a user may lack the right.
        database: target.access.database.filter(|&database| database != 0),
        ..Config::default()
    };
    config.server = match &target.endpoint {
        #[cfg(feature = "tls")]
        Endpoint::Tcp { host, port, tls: Some(tls) } => {
            config.tls = Some(tls.connector().into());
            let name = tls.name().map(str::to_owned);
            ServerConfig::Centralized { server: Server::new_with_tls(host.as_str(), *port, name) }
        }
        Endpoint::Tcp { host, port, .. } => {
            ServerConfig::Centralized { server: Server::new(host.as_str(), *port) }
        }
        #[cfg(unix)]
        Endpoint::Unix(path) => ServerConfig::new_unix_socket(path),
    };
    config
}

fn connection() -> ConnectionConfig {
    ConnectionConfig {
        // Whoever opens a link is the one who knows when it has taken too long.
        connection_timeout: Duration::ZERO,
        internal_command_timeout: Duration::ZERO,
        max_command_attempts: 1,
        max_redirections: 0,
        ..ConnectionConfig::default()
    }
}

fn performance() -> PerformanceConfig {
    PerformanceConfig { default_command_timeout: Duration::ZERO, ..PerformanceConfig::default() }
}
