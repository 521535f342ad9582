//! Which keys are asked for most, and which last, in bounded memory.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use foldhash::fast::RandomState;

/// Counts of the most frequent keys: where there is no place for another, all lose the median, and those that have none
/// left are forgotten. Whoever is asked for often stays, however many come once; a count is too low by at most what was
/// lost, about the number of all accesses divided by half of the places (Anderson, Bevin, Lang, Liberty, Rhodes and
/// Thaler, "A High-Performance Algorithm for Identifying Frequent Items in Data Streams", IMC 2017, after Misra and
/// Gries).
#[derive(Debug)]
pub(crate) struct Counts {
    places: usize,
    held: HashMap<Bytes, Count, RandomState>,
}

#[derive(Debug, Default)]
struct Count {
    /// Of the whole fleet as far as it is known, decayed.
    all: f64,
    /// What nobody else knows of yet.
    fresh: f64,
}

impl Counts {
    pub(crate) fn new(places: usize) -> Self {
        Self { places, held: HashMap::default() }
    }

    pub(crate) fn add(&mut self, name: &[u8], times: f64) {
        if let Some(count) = self.held.get_mut(name) {
            count.all += times;
            count.fresh += times;
            return;
        }
        if self.held.len() >= self.places {
            self.make_place();
        }
        self.held.insert(Bytes::copy_from_slice(name), Count { all: times, fresh: times });
    }

    #[cold]
    fn make_place(&mut self) {
        let mut counts: Vec<f64> = self.held.values().map(|count| count.all).collect();
        let middle = counts.len() / 2;
        let median = *counts.select_nth_unstable_by(middle, f64::total_cmp).1;
        self.held.retain(|_, count| {
            count.all -= median;
            count.all > 0.0
        });
    }

    pub(crate) fn of(&self, name: &[u8]) -> f64 {
        self.held.get(name).map_or(0.0, |count| count.all)
    }

    pub(crate) fn decay(&mut self, share: f64) {
        for count in self.held.values_mut() {
            count.all *= share;
            count.fresh *= share;
        }
    }

    /// What nobody else knows of yet, and will.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (Bytes, f64)> {
        let fresh = self.held.iter_mut().filter(|(_, count)| count.fresh > 0.0);
        fresh.map(|(name, count)| (name.clone(), std::mem::take(&mut count.fresh)))
    }

    /// What the fleet knows.
    pub(crate) fn learn(&mut self, name: &[u8], all: f64) {
        if let Some(count) = self.held.get_mut(name) {
            count.all = all + count.fresh;
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Bytes, f64)> {
        self.held.iter().map(|(name, count)| (name, count.all))
    }
}

/// When the keys that were asked for last were: at least half of what there is place for.
#[derive(Debug)]
pub(crate) struct Times {
    places: usize,
    held: HashMap<Bytes, Instant, RandomState>,
}

impl Times {
    pub(crate) fn new(places: usize) -> Self {
        Self { places, held: HashMap::default() }
    }

    pub(crate) fn note(&mut self, name: &[u8], now: Instant) {
        if let Some(last) = self.held.get_mut(name) {
            *last = now.max(*last);
            return;
        }
        if self.held.len() >= self.places {
            let mut times: Vec<Instant> = self.held.values().copied().collect();
            let middle = times.len() / 2;
            let median = *times.select_nth_unstable(middle).1;
            self.held.retain(|_, last| *last > median);
        }
        self.held.insert(Bytes::copy_from_slice(name), now);
    }

    /// What nobody else knows of yet, and will.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (Bytes, Instant)> {
        self.held.drain()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_asked_for_often_stays_however_many_come_once() {
        let mut counts = Counts::new(100);
        for round in 0..10_000_u32 {
            counts.add(&(round % 10).to_be_bytes(), 1.0);
            counts.add(&(1_000 + round).to_be_bytes(), 1.0);
        }
        let mut most: Vec<(f64, &Bytes)> =
            counts.all().map(|(name, count)| (count, name)).collect();
        most.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        assert!(most.len() <= 100, "{}", most.len());
        let hot: Vec<u32> = most[..10]
            .iter()
            .map(|(_, name)| u32::from_be_bytes(name[..].try_into().unwrap()))
            .collect();
        assert!(hot.iter().all(|name| *name < 10), "{hot:?}");
        // Of 1,000 each; what is lost is bounded by 20,000 accesses / 50.
        assert!(most[..10].iter().all(|(count, _)| (600.0..=1_000.0).contains(count)), "{most:?}");
    }

    #[test]
    fn what_was_taken_is_not_taken_again_and_what_the_fleet_knows_is_known() {
        let mut counts = Counts::new(10);
        counts.add(b"a", 3.0);
        assert_eq!(counts.take().collect::<Vec<_>>(), [(Bytes::from_static(b"a"), 3.0)]);
        counts.add(b"a", 1.0);
        counts.learn(b"a", 40.0);
        assert_eq!(counts.of(b"a"), 41.0);
        assert_eq!(counts.take().collect::<Vec<_>>(), [(Bytes::from_static(b"a"), 1.0)]);
        assert_eq!(counts.take().count(), 0);
        counts.decay(0.5);
        assert_eq!((counts.of(b"a"), counts.of(b"b")), (20.5, 0.0));
    }

    #[test]
    fn the_last_stay() {
        let (mut times, begun) = (Times::new(100), Instant::now());
        for round in 0..1_000_u32 {
            times.note(&round.to_be_bytes(), begun + Duration::from_millis(round.into()));
        }
        let held: Vec<u32> = times
            .take()
            .map(|(name, _)| u32::from_be_bytes(name[..].try_into().unwrap()))
            .collect();
        assert!((50..=100).contains(&held.len()), "{}", held.len());
        assert!((950..1_000).all(|round| held.contains(&round)));
    }
}
