//! Walking through the keys, page by page.

use std::collections::{HashSet, VecDeque};
use std::mem;

use bytes::Bytes;
use futures_util::stream::{self, Stream};

use crate::cluster::Layout;
use crate::cmd::Cmd;
use crate::error::{Error, ErrorKind};
use crate::nodes::Nodes;
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
        stream::try_unfold(Tour::new(self.clone(), scan.into()), |mut tour| async move {
            let key = tour.next().await?;
            Ok(key.map(|key| (key, tour)))
        })
    }
}

/// Walks through all nodes that there are, and again through the slots that were in two places meanwhile.
#[derive(Debug)]
struct Tour {
    redis: Redis,
    scan: Scan,
    /// The one under way is the first.
    walks: VecDeque<Walk>,
    /// Of a cluster: what it was like when the walks began, if they have.
    before: Option<Layout>,
    /// Only keys of these slots are new.
    only: Option<HashSet<u16>>,
    /// Slots of nodes that were lost on the way, and the last reason.
    lost: (HashSet<u16>, Option<Error>),
    rounds: u32,
}

impl Tour {
    fn new(redis: Redis, scan: Scan) -> Self {
        let (walks, lost) = (VecDeque::new(), (HashSet::new(), None));
        Self { redis, scan, walks, before: None, only: None, lost, rounds: 0 }
    }

    async fn next(&mut self) -> Result<Option<Key>, Error> {
        loop {
            let Some(walk) = self.walks.front_mut() else {
                if self.begin().await? {
                    continue;
                }
                return Ok(None);
            };
            match walk.next().await {
                Ok(Some(key))
                    if self.only.as_ref().is_none_or(|only| only.contains(&key.slot())) =>
                {
                    return Ok(Some(key));
                }
                Ok(Some(_)) => {}
                Ok(None) => drop(self.walks.pop_front()),
                // Another may serve its slots by the next round.
                Err(error) if self.before.is_some() && is_lost(&self.redis, &error) => {
                    self.lost.0.extend(walk.slots.iter());
                    self.lost.1 = Some(error);
                    self.walks.pop_front();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next round; false if none is needed.
    async fn begin(&mut self) -> Result<bool, Error> {
        let Nodes::Cluster(cluster) = &self.redis.to else {
            if self.rounds == 0 {
                self.walks.push_back(Walk::new(self.redis.clone(), self.scan.clone()));
            }
            self.rounds += 1;
            return Ok(self.rounds == 1);
        };
        let now = Layout::ask(cluster, &self.redis).await?;
        if let Some(before) = &self.before {
            let mut slots =
                if self.rounds == 1 { now.unsettled(before) } else { now.changed(before) };
            slots.extend(self.lost.0.drain());
            if slots.is_empty() {
                return Ok(false);
            }
            if self.rounds > BEGINNINGS {
                let why = "slots were moved each time: their keys can't be walked";
                let moved = || Error::not_sent(ErrorKind::Unsupported(why.into()));
                return Err(self.lost.1.take().unwrap_or_else(moved));
            }
            self.only = Some(slots);
        }
        // Twice, where keys are on their way: one that goes from a node that is walked late to one that was walked early
        // is found there.
        let passes = if self.only.is_some() { 2 } else { 1 };
        for _ in 0..passes {
            for part in &now.parts {
                if self.only.as_ref().is_none_or(|only| part.holds(only)) {
                    let slots = part.slots().collect();
                    self.walks.push_back(Walk {
                        slots,
                        ..Walk::new(part.redis.clone(), self.scan.clone())
                    });
                }
            }
        }
        self.rounds += 1;
        self.before = Some(now);
        Ok(true)
    }
}

/// Whether it is only one of the nodes that is gone.
fn is_lost(redis: &Redis, error: &Error) -> bool {
    let is_over = matches!(error.kind(), ErrorKind::Closed | ErrorKind::GaveUp { .. });
    error.is_retryable() || (is_over && !redis.to.is_closed())
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
    /// What the node is known to hold, in a cluster.
    slots: HashSet<u16>,
}

#[derive(Debug)]
enum At {
    Beginning,
    /// Where it is, and in which process of the server that is a place.
    Page(Bytes, String),
    End,
}

impl Walk {
    fn new(redis: Redis, scan: Scan) -> Self {
        let (found, slots) = (VecDeque::new(), HashSet::new());
        Self { redis, scan, at: At::Beginning, found, begun: 0, slots }
    }

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
        let generation = || format!("generation {}", self.redis.to.generations());
        Ok(info.run_id.clone().unwrap_or_else(generation))
    }
}
