//! What is asked for after what.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use moka::sync::Cache as Moka;

/// What a task asks for within so many lookups belongs together.
const WINDOW: usize = 5;

/// So many tasks are followed at a time.
const TASKS: u64 = 1_024;

/// So many followers of a key are counted.
const FOLLOWERS: usize = 8;

/// After so many lookups of a key what was counted counts for half.
const AGE: u32 = 256;

/// Bounded: of so many keys, and of so many tasks.
pub(crate) struct Learnt<K> {
    followers: Moka<K, Arc<Mutex<Followers<K>>>, RandomState>,
    /// The last lookups of each task.
    last: Moka<Option<tokio::task::Id>, Arc<Mutex<VecDeque<K>>>, RandomState>,
}

#[derive(Debug)]
struct Followers<K> {
    seen: u32,
    counts: Vec<(K, u32)>,
}

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Learnt<K> {
    pub(crate) fn new(keys: u64) -> Self {
        let last = Moka::builder().max_capacity(TASKS);
        Self {
            followers: Moka::builder().max_capacity(keys).build_with_hasher(RandomState::default()),
            last: last.build_with_hasher(RandomState::default()),
        }
    }

    /// That this task has asked for a key.
    pub(crate) fn note(&self, key: &K) {
        let last = self.last.get_with(tokio::task::try_id(), Arc::default);
        let before: Vec<K> = {
            let mut last = lock(&last);
            let before = last.iter().filter(|before| *before != key).cloned().collect();
            if last.len() >= WINDOW {
                last.pop_front();
            }
            last.push_back(key.clone());
            before
        };
        lock(&self.of(key)).see();
        for before in before {
            lock(&self.of(&before)).count(key);
        }
    }

    /// What is asked for after this key, the likeliest first.
    pub(crate) fn after(&self, key: &K) -> Vec<K> {
        let Some(followers) = self.followers.get(key) else { return Vec::new() };
        let followers = lock(&followers);
        let likely = |count: u32| count >= 2 && count.saturating_mul(4) >= followers.seen;
        let mut likely: Vec<&(K, u32)> =
            followers.counts.iter().filter(|(_, count)| likely(*count)).collect();
        likely.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        likely.into_iter().map(|(key, _)| key.clone()).collect()
    }

    fn of(&self, key: &K) -> Arc<Mutex<Followers<K>>> {
        let none = || Arc::new(Mutex::new(Followers { seen: 0, counts: Vec::new() }));
        self.followers.get_with_by_ref(key, none)
    }
}

impl<K: Clone + Eq> Followers<K> {
    fn see(&mut self) {
        self.seen += 1;
        if self.seen >= AGE {
            self.seen /= 2;
            self.counts.iter_mut().for_each(|(_, count)| *count /= 2);
            self.counts.retain(|(_, count)| *count > 0);
        }
    }

    /// Where there is no place for another, each loses one (Misra and Gries, "Finding repeated elements", 1982).
    fn count(&mut self, follower: &K) {
        if let Some((_, count)) = self.counts.iter_mut().find(|(key, _)| key == follower) {
            *count += 1;
        } else if self.counts.len() < FOLLOWERS {
            self.counts.push((follower.clone(), 1));
        } else {
            self.counts.iter_mut().for_each(|(_, count)| *count -= 1);
            self.counts.retain(|(_, count)| *count > 0);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_in_a_quarter_of_the_cases_is_expected() {
        let learnt = Learnt::new(100);
        for round in 0..8_u32 {
            for key in [1, 2, 1_000 + round] {
                learnt.note(&key);
            }
            if round < 4 {
                learnt.note(&3);
            }
            (0..5).for_each(|_| learnt.note(&0));
        }
        assert_eq!(learnt.after(&1)[..2], [0, 2]);
        assert!(learnt.after(&1).contains(&3) && !learnt.after(&1).contains(&1_000));
        assert!(learnt.after(&4).is_empty());
    }

    #[test]
    fn what_was_so_once_gives_way() {
        let learnt = Learnt::new(100);
        for _ in 0..300 {
            learnt.note(&1);
            learnt.note(&2);
        }
        for round in 0..600_u32 {
            learnt.note(&1);
            (0..6).for_each(|place| learnt.note(&(10 * round + place + 1_000)));
        }
        assert!(learnt.after(&1).is_empty(), "{:?}", learnt.after(&1));
    }
}
