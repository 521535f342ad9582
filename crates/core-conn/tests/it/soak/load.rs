//! What is called all the time, by tasks that know what each must be answered.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use russet_core_conn::{Cmd, Error, Key, Redis, Script, SendOutcome};

use super::faults::Weather;
use crate::support::ms;

/// Counts, on a key that goes by itself.
static ONCE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "once",
        "-- KEYS[1]: counter\n-- Returns: {count}\n-- Idempotent: no\n\
         local n = redis.call('INCR', KEYS[1])\n\
         redis.call('PEXPIRE', KEYS[1], 60000)\n\
         return {n}",
    )
});

#[derive(Debug, Default, Clone)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) ok: u64,
    pub(super) unknown: u64,
    pub(super) not_sent: u64,
    pub(super) rejected: u64,
    /// Calls that began and ended without a fault, and those of them that succeeded.
    pub(super) clear: u64,
    pub(super) clear_ok: u64,
    /// Writes without an answer that were looked at again a while later.
    pub(super) rechecked: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.ok += other.ok;
        self.unknown += other.unknown;
        self.not_sent += other.not_sent;
        self.rejected += other.rejected;
        self.clear += other.clear;
        self.clear_ok += other.clear_ok;
        self.rechecked += other.rechecked;
    }
}

/// A write without an answer.
struct Doubt {
    key: Key,
    /// How often it may have been applied.
    most: u64,
    since: Instant,
}

/// One task.
pub(super) struct Worker {
    redis: Redis,
    weather: Arc<Weather>,
    name: String,
    turn: u64,
    doubts: VecDeque<Doubt>,
    tally: Tally,
}

impl Worker {
    pub(super) fn new(redis: &Redis, weather: &Arc<Weather>, task: usize) -> Self {
        Self {
            redis: redis.clone(),
            weather: weather.clone(),
            name: format!("task-{task}"),
            turn: 0,
            doubts: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    pub(super) async fn run(mut self, end: Instant) -> Tally {
        while Instant::now() < end {
            self.turn += 1;
            let (bad, turn) = (self.weather.is_bad(), self.turn);
            let result = match turn % 8 {
                0 => self.own_text().await,
                1 => self.own_list().await,
                2 => self.own_batch().await,
                3 => self.once(Kind::Command).await,
                4 => self.once(Kind::Script).await,
                5 => self.once(Kind::Transaction).await,
                6 => self.once(Kind::Alone).await,
                _ => self.echo().await,
            };
            self.count(&result, bad || self.weather.is_bad());
            self.look_again().await;
            tokio::time::sleep(ms(2)).await;
        }
        self.tally
    }

    fn count(&mut self, result: &Result<(), Error>, bad: bool) {
        let tally = &mut self.tally;
        tally.calls += 1;
        match result.as_ref().map_err(Error::outcome) {
            Ok(()) => tally.ok += 1,
            Err(SendOutcome::Unknown) => tally.unknown += 1,
            Err(SendOutcome::NotSent) => tally.not_sent += 1,
            Err(SendOutcome::Rejected) => tally.rejected += 1,
        }
        if !bad {
            tally.clear += 1;
            tally.clear_ok += u64::from(result.is_ok());
        }
    }

    fn key(&self, kind: &str) -> Key {
        Key::raw(format!("{}:{kind}", self.name))
    }

    /// Its own value, or nothing where a kill has lost it, but never another's.
    async fn own_text(&mut self) -> Result<(), Error> {
        let key = self.key("text");
        let read: Option<String> = self.redis.run(Cmd::read("GET").key(&key)).await?;
        match read {
            Some(text) => assert_eq!(text, self.name, "another's value"),
            None => self.redis.run::<()>(Cmd::idempotent("SET").key(&key).arg(&self.name)).await?,
        }
        Ok(())
    }

    async fn own_list(&mut self) -> Result<(), Error> {
        let key = self.key("list");
        let read: Vec<String> = self.redis.run(Cmd::read("LRANGE").key(&key).arg(0).arg(2)).await?;
        if read.len() < 3 {
            self.redis.run::<()>(Cmd::idempotent("DEL").key(&key)).await?;
            // A word that the client below takes for something else.
            let fill = Cmd::write("RPUSH").key(&key).arg("message").arg(&self.name).arg("x");
            return self.redis.run::<()>(fill).await;
        }
        assert_eq!(read, ["message", self.name.as_str(), "x"], "another's list");
        Ok(())
    }

    async fn own_batch(&mut self) -> Result<(), Error> {
        let echo = |n: u64| Cmd::read("ECHO").arg(format!("{}:{}:{n}", self.name, self.turn));
        for (n, reply) in (0..4).zip(self.redis.pipeline((0..4).map(echo)).await) {
            let expected = format!("{}:{}:{n}", self.name, self.turn);
            assert_eq!(reply?, russet_core_conn::Value::Bytes(expected.into()), "another's echo");
        }
        Ok(())
    }

    async fn echo(&mut self) -> Result<(), Error> {
        let text = format!("{}:{}", self.name, self.turn);
        let back: String = self.redis.run(Cmd::read("ECHO").arg(&text)).await?;
        assert_eq!(back, text, "another's echo");
        Ok(())
    }

    /// A write on a key of its own, which can tell how often it was applied.
    async fn once(&mut self, kind: Kind) -> Result<(), Error> {
        let key = self.key(&format!("once:{}", self.turn));
        let incr = || Cmd::write("INCR").key(&key);
        let result = match kind {
            Kind::Command => self.redis.run::<i64>(incr()).await,
            Kind::Script => self.redis.script::<(i64,)>(ONCE.key(&key)).await.map(|(n,)| n),
            Kind::Transaction => {
                let expire = Cmd::write("PEXPIRE").key(&key).arg(60_000);
                self.redis.transaction([incr(), expire]).await.map(|replies| match replies[..] {
                    [russet_core_conn::Value::Int(n), _] => n,
                    ref other => panic!("another's replies: {other:?}"),
                })
            }
            Kind::Alone => match self.redis.dedicated().await {
                Ok(mut own) => own.run::<i64>(incr()).await,
                Err(error) => Err(error),
            },
        };
        match &result {
            Ok(n) => assert_eq!(*n, 1, "applied {n} times, by the answer"),
            Err(error) => self.doubts.push_back(Doubt {
                most: u64::from(error.outcome() == SendOutcome::Unknown),
                key: key.clone(),
                since: Instant::now(),
            }),
        }
        let gone = result?;
        self.redis.run::<()>(Cmd::idempotent("UNLINK").key(&key)).await?;
        assert_eq!(gone, 1);
        Ok(())
    }

    /// What had no answer is looked at again a good while after it, when whatever could be late has come.
    async fn look_again(&mut self) {
        while let Some(doubt) = self.doubts.front() {
            if doubt.since.elapsed() < Duration::from_secs(3) {
                return;
            }
            let times = self.redis.run::<Option<u64>>(Cmd::read("GET").key(&doubt.key)).await;
            // Not served now: later.
            let Ok(times) = times else { return };
            let times = times.unwrap_or(0);
            assert!(times <= doubt.most, "applied {times} times, allowed {}", doubt.most);
            let _ = self.redis.run::<()>(Cmd::idempotent("UNLINK").key(&doubt.key)).await;
            self.tally.rechecked += 1;
            self.doubts.pop_front();
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Command,
    Script,
    Transaction,
    Alone,
}
