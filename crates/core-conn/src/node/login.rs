//! Logs a living connection in again, when its credentials have changed.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use super::Node;
use crate::cmd::Cmd;
use crate::credentials::Credentials;
use crate::error::{Error, ErrorKind};
use crate::event::EventKind;
use crate::link::{Link, LinkError, Request};
use crate::value::server_error;

/// How long a change is left alone after the one before, and a refusal before it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs beside a connection as long as that lives.
pub(super) async fn keep(
    node: &Node,
    connection: usize,
    link: &Link,
    used: Option<Credentials>,
) -> Infallible {
    let Some(mut used) = used else { return std::future::pending().await };
    loop {
        node.settings.target.login.changed(&used).await;
        match again(node, link).await {
            Ok(Some(now)) => {
                used = now;
                node.announce(connection, EventKind::LoggedIn);
            }
            Ok(None) => {}
            Err(error) => node.announce(connection, EventKind::LoginFailed(error)),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The connection is used meanwhile: the server changes the user between two commands.
async fn again(node: &Node, link: &Link) -> Result<Option<Credentials>, Error> {
    let target = &node.settings.target;
    let deadline = Instant::now() + target.connect_timeout;
    let Some(credentials) = target.credentials(deadline).await? else { return Ok(None) };
    let auth = Cmd::idempotent("AUTH").args(credentials.user()).arg(credentials.secret());
    match tokio::time::timeout_at(deadline.into(), link.call(Request::Cmd(&auth))).await {
        Ok(Ok(_)) => Ok(Some(credentials)),
        Ok(Err(LinkError::Server(words))) => Err(server_error(&words, false)),
        Ok(Err(LinkError::Lost(reason))) => Err(Error::unknown(ErrorKind::ConnectionLost(reason))),
        Err(_) => Err(target.no_answer()),
    }
}
