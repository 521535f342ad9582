//! Writes, and notes what the entities may have become.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use russet_cache::{BehindError, Entities, Patch, WriteBehind};
use russet_core_conn::SendOutcome;
use russet_testkit::soak::seed;

use super::super::ms;
use super::table::{FIELDS, Row, is_poison};

pub(crate) const TASKS: u64 = 16;

/// What a write makes of an entity.
type Effect = Box<dyn Fn(Option<Row>) -> Option<Row> + Send>;

/// Writes some entities, which nobody else does.
pub(crate) struct Writer {
    rows: Entities<u64, Row>,
    number: u64,
    entities: u64,
    random: SmallRng,
    tally: Tally,
}

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) writes: u64,
    pub(crate) acknowledged: u64,
    pub(crate) unknown: u64,
    not_sent: u64,
    /// What each entity may be, in the end: more than one thing only by writes whose outcome is unknown.
    pub(crate) possible: HashMap<u64, Vec<Option<Row>>>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.writes += other.writes;
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.not_sent += other.not_sent;
        self.possible.extend(other.possible);
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ambiguous = self.possible.values().filter(|possible| possible.len() > 1).count();
        f.debug_struct("Tally")
            .field("writes", &self.writes)
            .field("acknowledged", &self.acknowledged)
            .field("unknown", &self.unknown)
            .field("not_sent", &self.not_sent)
            .field("entities", &self.possible.len())
            .field("ambiguous", &ambiguous)
            .finish()
    }
}

impl Writer {
    pub(crate) fn new(buffer: &WriteBehind, number: u64, entities: u64) -> Self {
        let random = SmallRng::seed_from_u64(seed() ^ (number << 32));
        let rows = buffer.entities("row").unwrap();
        Self { rows, number, entities, random, tally: Tally::default() }
    }

    /// Until all have written so much, and nothing goes wrong any more.
    pub(crate) async fn run(
        mut self,
        writes: u64,
        written: Arc<AtomicU64>,
        ends: Arc<AtomicBool>,
    ) -> Tally {
        while written.load(Relaxed) < writes || !ends.load(Relaxed) {
            self.write().await;
            written.fetch_add(1, Relaxed);
            tokio::time::sleep(ms(6).mul_f64(self.random.random())).await;
        }
        self.tally
    }

    async fn write(&mut self) {
        // Poison is written less often: what is dead is alive again with the next write.
        let key = loop {
            let at = self.random.random_range(0..self.entities.div_ceil(TASKS));
            let key = at * TASKS + self.number;
            if !is_poison(key) || self.random.random_bool(0.05) {
                break key;
            }
        };
        self.tally.writes += 1;
        let number = self.tally.writes;
        let (change, said): (Effect, _) = match self.random.random_range(0..10) {
            0 => (Box::new(|_| None), self.rows.delete(&key).await.map(Some)),
            1..5 => {
                let fields: Vec<&str> =
                    FIELDS.into_iter().filter(|_| self.random.random_bool(0.5)).collect();
                let patch = fields.iter().fold(Patch::new(), |patch, f| patch.set(*f, &number));
                let apply = move |row: Option<Row>| {
                    let mut row = row?;
                    for field in &fields {
                        match *field {
                            "a" => row.a = number,
                            "b" => row.b = number,
                            _ => row.c = number,
                        }
                    }
                    Some(row)
                };
                (Box::new(apply), self.rows.patch(&key, patch).await)
            }
            _ => {
                let row = Row { a: number, b: number, c: number };
                (Box::new(move |_| Some(row)), self.rows.put(&key, &row).await.map(Some))
            }
        };
        self.note(key, &change, said);
    }

    fn note(&mut self, key: u64, change: &Effect, said: Result<Option<u64>, BehindError>) {
        let possible = self.tally.possible.entry(key).or_insert_with(|| vec![None]);
        let changed: Vec<_> = possible.iter().map(|row| change(*row)).collect();
        match said {
            Ok(_) => {
                *possible = changed;
                self.tally.acknowledged += 1;
            }
            Err(error) if error.outcome() == SendOutcome::Unknown => {
                possible.extend(changed);
                self.tally.unknown += 1;
            }
            Err(_) => self.tally.not_sent += 1,
        }
        possible.sort_by_key(|row| row.map(|row| (row.a, row.b, row.c)));
        possible.dedup();
    }
}
