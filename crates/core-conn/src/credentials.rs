//! As whom connections log in, and where that is known from.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;

use crate::{Error, ErrorKind};

/// A user and a password. The password is in no message and no `Debug`.
#[derive(Clone)]
pub struct Credentials {
    user: Option<String>,
    password: SecretString,
}

impl Credentials {
    /// Of an ACL user.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: Some(user.into()), password: SecretString::from(password.into()) }
    }

    /// Of the server's default user.
    pub fn password(password: impl Into<String>) -> Self {
        Self { user: None, password: SecretString::from(password.into()) }
    }

    /// The user; `None` for the default one.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(crate) fn secret(&self) -> &str {
        self.password.expose_secret()
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.user == other.user && self.secret() == other.secret()
    }
}

impl Eq for Credentials {}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Where credentials come from that change while the program runs: a vault, a cloud's token service, a file.
///
/// It is asked at each new connection, within the [`connect_timeout`](crate::RedisBuilder::connect_timeout), and by
/// several connections at once if there are several. When [`changed`](Self::changed) resolves, each living connection
/// asks again and opens another one, which takes its place; it ends itself when its last call is answered, so that
/// nothing in flight is lost. For that moment the server has one client more for each. If the server refuses, the
/// connection stays as whom it was, an event tells, and it is tried again a second later. A [`Hub`](crate::Hub)'s
/// connection stays as whom it logged in when it was opened, and so does one in a caller's hands
/// ([`Redis::dedicated`](crate::Redis::dedicated)), which then goes to no further caller.
///
/// `AUTH` is never sent on a connection that has calls: Redis 8.2 may leave a refused one without any reply while
/// `ACL SETUSER` changes the user, and each call behind it would get the reply of another.
///
/// The receiver of a [`watch`] channel is one already:
///
/// ```no_run
/// use russet_core_conn::{Credentials, Redis};
/// use tokio::sync::watch;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (tell, told) = watch::channel(Credentials::new("shop", "of this month"));
/// let redis = Redis::builder("rediss://redis.internal").credentials(told).build()?;
/// // Next month:
/// tell.send(Credentials::new("shop", "of the next"))?;
/// # Ok(()) }
/// ```
pub trait CredentialProvider: Send + Sync + 'static {
    /// Why there are none now. What it displays becomes part of errors, events and logs: it must not hold a secret.
    type Error: fmt::Display + Send;

    /// The credentials that are valid now.
    fn fetch(&self) -> impl Future<Output = Result<Credentials, Self::Error>> + Send;

    /// Resolves when a connection that logged in with `used` should log in again: when [`fetch`](Self::fetch) would
    /// give others, or when these will soon have lived too long. By default never. It is dropped and called again at
    /// will, and heeded once a second at most.
    fn changed(&self, used: &Credentials) -> impl Future<Output = ()> + Send {
        let _ = used;
        pending()
    }
}

/// What was sent last. Changed when it differs.
impl CredentialProvider for watch::Receiver<Credentials> {
    type Error = Infallible;

    async fn fetch(&self) -> Result<Credentials, Infallible> {
        Ok(self.borrow().clone())
    }

    async fn changed(&self, used: &Credentials) {
        if self.clone().wait_for(|now| now != used).await.is_err() {
            // Its sender is gone: they will not change any more.
            pending::<()>().await;
        }
    }
}

/// As whom a target's connections log in.
#[derive(Clone)]
pub(crate) enum Login {
    /// As nobody: the server's default user needs no password.
    Open,
    As(Credentials),
    Provided(Arc<dyn Provider>),
}

impl Login {
    pub(crate) fn provided(provider: impl CredentialProvider) -> Self {
        Self::Provided(Arc::new(provider))
    }

    /// What is valid now. Takes as long as the provider takes.
    pub(crate) async fn fetch(&self) -> Result<Option<Credentials>, Error> {
        match self {
            Self::Open => Ok(None),
            Self::As(credentials) => Ok(Some(credentials.clone())),
            Self::Provided(provider) => {
                let asked = AssertUnwindSafe(provider.ask()).catch_unwind().await;
                match asked.unwrap_or_else(|_| Err("it panicked".into())) {
                    Ok(credentials) => Ok(Some(credentials)),
                    Err(reason) => Err(Error::not_sent(ErrorKind::Credentials(reason))),
                }
            }
        }
    }

    /// Resolves when whoever logged in with these should log in again.
    pub(crate) async fn changed(&self, used: &Credentials) {
        match self {
            Self::Open | Self::As(_) => pending().await,
            Self::Provided(provider) => {
                if AssertUnwindSafe(provider.wait(used)).catch_unwind().await.is_err() {
                    pending::<()>().await;
                }
            }
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::As(credentials) => credentials.fmt(f),
            Self::Provided(_) => f.write_str("Provided"),
        }
    }
}

/// A provider of whatever type.
pub(crate) trait Provider: Send + Sync {
    fn ask(&self) -> BoxFuture<'_, Result<Credentials, String>>;
    fn wait<'a>(&'a self, used: &'a Credentials) -> BoxFuture<'a, ()>;
}

impl<P: CredentialProvider> Provider for P {
    fn ask(&self) -> BoxFuture<'_, Result<Credentials, String>> {
        Box::pin(async { self.fetch().await.map_err(|error| error.to_string()) })
    }

    fn wait<'a>(&'a self, used: &'a Credentials) -> BoxFuture<'a, ()> {
        Box::pin(self.changed(used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_compared_and_never_printed() {
        let ann = Credentials::new("ann", "hunter2");
        assert_eq!(ann, ann.clone());
        assert_ne!(ann, Credentials::new("ann", "hunter3"));
        assert_ne!(ann, Credentials::password("hunter2"));
        for login in [Login::As(ann.clone()), Login::provided(watch::channel(ann.clone()).1)] {
            assert!(!format!("{login:?} {ann:?}").contains("hunter2"));
        }
    }

    #[tokio::test]
    async fn a_change_is_heard_whenever_it_came() {
        let old = Credentials::password("old");
        let (tell, told) = watch::channel(old.clone());
        let mut changed = Box::pin(told.changed(&old));
        assert!(changed.as_mut().now_or_never().is_none());
        tell.send_replace(Credentials::password("new"));
        changed.await;
        // Before it was asked, too; and not when it has gone back.
        told.changed(&old).await;
        tell.send_replace(old.clone());
        drop(tell);
        assert!(told.changed(&old).now_or_never().is_none());
    }

    struct Broken;

    impl CredentialProvider for Broken {
        type Error = &'static str;

        async fn fetch(&self) -> Result<Credentials, &'static str> {
            panic!("on purpose")
        }
    }

    #[tokio::test]
    async fn a_provider_that_panics_is_one_that_fails() {
        let error = Login::provided(Broken).fetch().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Credentials(why) if why == "it panicked"));
    }
}
