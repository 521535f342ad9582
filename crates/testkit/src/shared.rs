//! One server for a whole suite.
//!
//! Its keys are shared too: begin each with a [`prefix`] of the test's own, and never flush.

use tokio::sync::OnceCell;

use crate::port::random;
use crate::{Conn, Result, Server};

/// Never dropped: the guardian ends the server when the process ends.
static SERVER: OnceCell<Server> = OnceCell::const_new();

/// The URL of the server that the suite shares: `RUSSET_TEST_URL` if that is set, else a server of this process,
/// started by the first caller and kept until the process ends.
///
/// # Errors
/// See [`Builder::start`](crate::Builder::start). The next caller tries again.
pub async fn url() -> Result<String> {
    if let Some(url) = std::env::var("RUSSET_TEST_URL").ok().filter(|url| !url.is_empty()) {
        return Ok(url);
    }
    Ok(SERVER.get_or_try_init(Server::start).await?.url())
}

/// A new connection to the server at [`url`].
///
/// # Errors
/// As [`url`] and [`Conn::open`].
pub async fn conn() -> Result<Conn> {
    Conn::open(&url().await?).await
}

/// A key prefix that no other call gives, in this process or another: `name-1f0c…`.
#[must_use]
pub fn prefix(name: &str) -> String {
    format!("{name}-{:016x}", random())
}
