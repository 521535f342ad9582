//! One server for a whole suite.
//!
//! Its keys are shared too: begin each with a [`prefix`] of the test's own, and never flush.

use tokio::sync::OnceCell;

use crate::port::random;
use crate::url::{Address, escape};
use crate::{Conn, Error, Reply, Result, Server};

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

/// The URL of the shared server for a user of the caller's own, who has the rights of a line of an ACL file, and
/// `more` of them. So a suite finds out whether the rights that it asks its users for are enough.
///
/// The line is a template: `PASSWORD` stands for a password, which is drawn, and `PREFIX` for the prefix of the keys,
/// of which the user's name becomes a part.
///
/// ```no_run
/// # async fn run() -> russet_testkit::Result<()> {
/// use russet_testkit::{prefix, shared};
///
/// let line = "user shop on >PASSWORD ~PREFIX:* -@all +get +set";
/// let url = shared::url_as(line, &prefix("orders"), &["+acl|whoami"]).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Config`] for what is no such line or no TCP server, [`Error::Refused`] when the server does not know one of
/// the rights; and as [`conn`].
pub async fn url_as(line: &str, prefix: &str, more: &[&str]) -> Result<String> {
    let wrong = |reason: &str| Error::Config { field: "line", reason: reason.to_owned() };
    let password = format!("{:016x}{:016x}", random(), random());
    let line = line.trim().replace("PASSWORD", &password).replace("PREFIX", prefix);
    let mut words = line.split_whitespace();
    let (Some("user"), Some(name)) = (words.next(), words.next()) else {
        return Err(wrong("it does not begin with `user` and a name"));
    };
    let Address::Tcp { host, port, database, .. } = Address::parse(&url().await?)? else {
        return Err(wrong("the shared server is reached by a socket"));
    };
    let name = format!("{name}-{prefix}");
    let command: Vec<&str> =
        ["ACL", "SETUSER", &name].into_iter().chain(words).chain(more.iter().copied()).collect();
    match conn().await?.call(&command).await? {
        Reply::Error(message) => Err(Error::Refused(message)),
        _ => Ok(format!("redis://{}:{password}@{host}:{port}/{database}", escape(&name))),
    }
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
