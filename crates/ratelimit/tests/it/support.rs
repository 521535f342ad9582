//! What the tests share.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use russet_core_conn::{KeySpace, Redis};
use russet_ratelimit::{Limiter, Outage, Quota};
use russet_testkit::shared::{self, Topology};
use russet_testkit::{Conn, Server};

/// The rights that this crate asks for.
pub(crate) const ACL: &str = include_str!("../../acl/ratelimit.acl");

/// A handle whose deadlines a busy machine does not miss.
pub(crate) fn patient(url: &str) -> Redis {
    Redis::builder(url).deadline(Duration::from_secs(10)).build().unwrap()
}

/// A key space that is one test's alone. At the end of the test, when it is dropped, no key of it may be without an end.
///
/// It finds a key at least, the layout's if no other: one that is dropped before anything was written has found nothing.
#[derive(Debug)]
pub(crate) struct Space {
    keys: KeySpace,
    at: At,
    scanned: AtomicBool,
}

/// Where its keys are.
#[derive(Debug)]
enum At {
    Shared(Topology),
    /// Servers that are the test's alone.
    Own(Vec<String>),
}

/// A key space on the servers that the suite shares, and a handle of the user of the crate's ACL file.
pub(crate) async fn space(at: Topology, test: &str) -> (Redis, Space) {
    let prefix = shared::prefix(test);
    let redis = patient(&at.url_as(ACL, &prefix, &[]).await.unwrap());
    (redis, Space::shared(at, &prefix))
}

impl Space {
    /// On the servers that the suite shares, with a prefix that nobody else has.
    pub(crate) fn shared(at: Topology, prefix: &str) -> Self {
        Self::new(prefix, At::Shared(at))
    }

    /// On servers that are the test's alone: to be dropped before them.
    pub(crate) fn own(servers: impl IntoIterator<Item: Borrow<Server>>, prefix: &str) -> Self {
        Self::new(
            prefix,
            At::Own(servers.into_iter().map(|server| server.borrow().url()).collect()),
        )
    }

    fn new(prefix: &str, at: At) -> Self {
        let keys = KeySpace::new(prefix).unwrap();
        Self { keys, at, scanned: AtomicBool::new(false) }
    }

    /// That no key stays for ever. At the end of a test it need not be asked for, but where its servers are dead by then.
    pub(crate) async fn hygiene(&self) {
        let (mut seen, mut endless) = (0, Vec::new());
        for mut primary in self.conns().await {
            for key in self.found(&mut primary).await {
                seen += 1;
                // What belongs to the key space ends with it.
                let owned = key == format!("{{{}}}:layout", self.prefix());
                if !owned && primary.call(&["PTTL", &key]).await.unwrap().int() == Some(-1) {
                    endless.push(key);
                }
            }
        }
        assert_eq!(endless, [""; 0], "keys without an end");
        assert!(seen > 0 || self.scanned.load(Relaxed), "{}: no key was found", self.prefix());
        self.scanned.store(true, Relaxed);
    }

    /// An independent client of each server that is alive.
    async fn conns(&self) -> Vec<Conn> {
        match &self.at {
            At::Shared(at) => at.primaries().await.unwrap(),
            At::Own(urls) => {
                let conns = futures_util::future::join_all(urls.iter().map(|url| Conn::open(url)));
                conns.await.into_iter().flatten().collect()
            }
        }
    }

    /// Its keys on this server, both those of a partition and those of the whole space.
    async fn found(&self, server: &mut Conn) -> BTreeSet<String> {
        let (mut found, mut cursor) = (BTreeSet::new(), "0".to_owned());
        let pattern = format!("{{{}[:}}]*", self.prefix());
        loop {
            let scan = ["SCAN", &cursor, "MATCH", &pattern, "COUNT", "10000"];
            let reply = server.call(&scan).await.unwrap();
            let parts = reply.items().unwrap();
            let keys = parts[1].items().unwrap().iter().map(|key| key.text().unwrap().to_owned());
            found.extend(keys);
            cursor = parts[0].text().unwrap().to_owned();
            if cursor == "0" {
                return found;
            }
        }
    }
}

impl Deref for Space {
    type Target = KeySpace;

    fn deref(&self) -> &KeySpace {
        &self.keys
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // With a runtime of its own: the test's may have but one thread, which waits here.
        let scan = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(self.hygiene());
        };
        std::thread::scope(|scope| scope.spawn(scan).join()).unwrap();
    }
}

/// A limiter in a key space that is this test's alone. It decides by Redis, or not at all.
pub(crate) async fn limiter(at: Topology, test: &str) -> (Limiter, Space) {
    let (redis, space) = space(at, test).await;
    (exact(&redis, &space), space)
}

/// A limiter that decides by Redis, or not at all.
pub(crate) fn exact(redis: &Redis, space: &KeySpace) -> Limiter {
    Limiter::options(redis, space).on_outage(Outage::Error).build().unwrap()
}

/// An algorithm that a whole test may not wait for: nothing is regained in a minute.
pub(crate) fn all(limit: u64) -> Vec<Quota> {
    let hour = Duration::from_secs(3_600);
    let quotas = [
        Quota::gcra(limit, hour, limit),
        Quota::queue(limit, limit, hour, hour * 2),
        Quota::interval(limit, 1, hour),
        Quota::fixed_from_first_hit(limit, hour),
        Quota::counter(limit, hour),
        Quota::strict(limit, hour),
        Quota::log(limit, hour),
        Quota::permits(limit, hour),
    ];
    quotas.into_iter().map(Result::unwrap).collect()
}
