//! Opens the connection that takes a living one's place when its credentials have changed.
//!
//! `AUTH` on the living one would save a connection. But Redis 8.2 may leave a refused `AUTH` without any reply while
//! `ACL SETUSER` changes that user: each call behind it would be given the reply of another. So nothing but the
//! greeting shares a connection with a login.

use std::time::Duration;

use super::{Node, supervise};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::event::EventKind;
use crate::link::Opened;

/// How long a change is left alone after the one before, and a refusal before it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The connection that is ready to go on in place of the one that logged in with `used`.
pub(super) async fn successor(
    node: &Node,
    connection: usize,
    used: Option<&Credentials>,
) -> Opened {
    let Some(used) = used else { return std::future::pending().await };
    loop {
        tokio::time::sleep(PAUSE).await;
        node.settings.access.login.changed(used).await;
        match open(node, connection).await {
            Ok(opened) => return opened,
            Err(error) => node.announce(connection, EventKind::LoginFailed(error)),
        }
    }
}

async fn open(node: &Node, connection: usize) -> Result<Opened, Error> {
    let mut opened = node.open().await?;
    supervise::ready_check(node, connection, &mut opened).await?;
    Ok(opened)
}
