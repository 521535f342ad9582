//! Walking through the keys, page by page.

use std::collections::VecDeque;
use std::mem;

use bytes::Bytes;
use futures_util::stream::{self, Stream};

use crate::cmd::Cmd;
use crate::error::{Error, ErrorKind};
use crate::{Key, Redis};

/// Which keys a [`Redis::scan`] is to find. A pattern as text becomes one of these.
#[derive(Debug, Clone)]
#[must_use]
pub struct Scan {
    pattern: Option<Bytes>,
    kind: Option<&'static str>,
    count: u32,
}

impl Scan {
    /// Every key.
    pub fn all() -> Self {
        Self { pattern: None, kind: None, count: 250 }
    }

    /// The keys that match a glob of Redis: `*`, `?`, `[a-z]`, and `\` before what is to be taken as it is.
    ///
    /// What [`KeySpace`](crate::KeySpace) escapes has none of these, so its keys can be written into a pattern as they
    /// are; segments that it hashed can't be matched by their beginning.
    pub fn matching(pattern: impl Into<Bytes>) -> Self {
        Self { pattern: Some(pattern.into()), ..Self::all() }
    }

    /// Only keys of this type, as `TYPE` names it: `string`, `hash`, `list`, `set`, `zset`, `stream`.
    pub fn of_type(self, kind: &'static str) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// How many keys the server looks at for one page. Default: 250, which holds it up for some tens of microseconds.
    pub fn count(self, count: u32) -> Self {
        Self { count, ..self }
    }

    fn page(&self, cursor: &Bytes) -> Cmd {
        let mut cmd = Cmd::read("SCAN").arg(cursor).arg("COUNT").arg(self.count.max(1));
        if let Some(pattern) = &self.pattern {
            cmd = cmd.arg("MATCH").arg(pattern);
        }
        if let Some(kind) = self.kind {
            cmd = cmd.arg("TYPE").arg(kind);
        }
        cmd
    }
}

impl From<&str> for Scan {
    fn from(pattern: &str) -> Self {
        Self::matching(Bytes::copy_from_slice(pattern.as_bytes()))
    }
}

impl Redis {
    /// Walks through the keys: a stream of them, in no order, one round trip a page. For administration, never for a
    /// request of a user: it looks at every key there is.
    ///
    /// As with `SCAN` itself, a key that is there from the beginning to the end is found at least once, perhaps more
    /// often; one that comes or goes meanwhile may be found or not. A page is asked for when the stream is polled for
    /// it, and has the handle's deadline. If the server is another process than before (its cursors mean nothing any
    /// more), the walk begins again.
    ///
    /// # Errors
    /// Any error of a call ends the stream; [`Unsupported`](ErrorKind::Unsupported) if it had to begin again eight times,
    /// and for a handle whose connections may lead to several replicas
    /// ([`sentinel_role`](crate::RedisBuilder::sentinel_role) and more than one connection): a cursor is one server's.
    ///
    /// ```no_run
    /// # async fn example(redis: russet_core_conn::Redis) -> Result<(), russet_core_conn::Error> {
    /// use std::pin::pin;
    /// use futures_util::TryStreamExt;
    /// use russet_core_conn::Scan;
    ///
    /// let mut hashes = pin!(redis.scan(Scan::matching("{shop:*}:cart:*").of_type("hash")));
    /// while let Some(key) = hashes.try_next().await? {
    ///     println!("{key:?}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn scan<S: Into<Scan>>(
        &self,
        scan: S,
    ) -> impl Stream<Item = Result<Key, Error>> + Send + 'static + use<S> {
        let walk = Walk {
            redis: self.clone(),
            scan: scan.into(),
            at: At::Beginning,
            found: VecDeque::new(),
            begun: 0,
        };
        stream::try_unfold(walk, |mut walk| async move {
            let key = walk.next().await?;
            Ok(key.map(|key| (key, walk)))
        })
    }
}

/// How often a walk begins again at most, because the server was another one.
const BEGINNINGS: u32 = 8;

/// A walk under way.
#[derive(Debug)]
struct Walk {
    redis: Redis,
    scan: Scan,
    at: At,
    found: VecDeque<Bytes>,
    begun: u32,
}

#[derive(Debug)]
enum At {
    Beginning,
    /// Where it is, and in which process of the server that is a place.
    Page(Bytes, String),
    End,
}

impl Walk {
    async fn next(&mut self) -> Result<Option<Key>, Error> {
        loop {
            if let Some(key) = self.found.pop_front() {
                return Ok(Some(Key::raw(key)));
            }
            let (cursor, process) = match mem::replace(&mut self.at, At::End) {
                At::End => return Ok(None),
                At::Page(cursor, process) => (cursor, process),
                At::Beginning if self.redis.spreads() => {
                    let why = "the connections of this handle may lead to several replicas: scan by one connection";
                    return Err(Error::not_sent(ErrorKind::Unsupported(why.into())));
                }
                At::Beginning => (Bytes::from_static(b"0"), self.process().await?),
            };
            let (next, keys): (Bytes, Vec<Bytes>) = self.redis.run(self.scan.page(&cursor)).await?;
            // Looked at after the page: it may have come from either side of a restart.
            if self.process().await? != process {
                self.begun += 1;
                if self.begun > BEGINNINGS {
                    let why = "the server was another one each time: its keys can't be walked";
                    return Err(Error::not_sent(ErrorKind::Unsupported(why.into())));
                }
                self.at = At::Beginning;
                continue;
            }
            if next != "0" {
                self.at = At::Page(next, process);
            }
            self.found.extend(keys);
        }
    }

    /// What tells one process of the server from another: costs no trip as long as no connection was lost.
    async fn process(&self) -> Result<String, Error> {
        let info = self.redis.info().await?;
        // A user who may not ask takes each lost connection for a restart.
        let generation = || format!("generation {}", self.redis.inner.node.generations());
        Ok(info.run_id.clone().unwrap_or_else(generation))
    }
}
