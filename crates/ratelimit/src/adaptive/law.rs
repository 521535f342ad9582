//! Where a limit goes, without anything that measures: pure.

use std::time::Duration;

/// The load where no signal is known: below the usual thresholds, and not calm.
pub const UNKNOWN: f64 = 0.5;

/// The lowest and the highest that a limit may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// At full load.
    pub floor: u64,
    /// Without load.
    pub ceiling: u64,
}

/// By what a limit moves.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Law {
    /// By a load from 0 to 1, with each sample by a share of the way.
    Load {
        /// Up to this load it is the ceiling. From 0 to 1.
        threshold: f64,
        /// Which share of the way it goes with each sample. Above 0, up to 1.
        smoothing: f64,
    },
    /// Up by 1 while at least half of it is in use, and down by a tenth where a call was [dropped](super::Call::dropped).
    Aimd,
    /// By how much longer calls take now than they do on the whole: up to half as long again is well.
    Gradient2,
    /// By how many calls seem to wait, going by the shortest time that was ever seen.
    Vegas,
}

/// What is known of the time since the last sample.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sample {
    /// From 0 to 1, and above.
    pub load: f64,
    /// The most calls at a time.
    pub inflight: u64,
    /// How long calls took on average.
    pub took: Option<Duration>,
    /// The shortest of them.
    pub shortest: Option<Duration>,
    /// Whether any was dropped.
    pub dropped: bool,
}

/// What a law remembers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State {
    /// The limit before it was rounded.
    exact: f64,
    /// In seconds.
    long: Option<f64>,
    shortest: Option<f64>,
    samples: u32,
}

/// So many samples make a long time.
const LONG: f64 = 600.0;
/// What was the shortest time is forgotten after so many.
const FORGOTTEN: u32 = 600;

impl Law {
    /// Where a limit goes from here; and the load for which it does.
    pub(super) fn next(
        &self,
        state: &mut State,
        bounds: &Bounds,
        limit: u64,
        sample: &Sample,
    ) -> (u64, f64) {
        if let Self::Load { threshold, smoothing } = *self {
            let target = target(bounds, threshold, sample.load);
            return (step(limit, target, smoothing), sample.load);
        }
        if state.exact.round() as u64 != limit {
            state.exact = limit as f64;
        }
        let load = sample.inflight as f64 / limit.max(1) as f64;
        if let Some(exact) = self.exact(state, sample) {
            state.exact = exact.clamp(bounds.floor as f64, bounds.ceiling as f64);
        }
        (state.exact.round() as u64, load)
    }

    /// `None` where there is nothing to go by.
    fn exact(&self, state: &mut State, sample: &Sample) -> Option<f64> {
        let limit = state.exact;
        let took = sample.took.map(|took| took.as_secs_f64().max(1e-9));
        let used = 2.0 * sample.inflight as f64 >= limit;
        match self {
            Self::Load { .. } => None,
            Self::Aimd if sample.dropped => Some(limit * 0.9),
            Self::Aimd => (used && took.is_some()).then_some(limit + 1.0),
            Self::Gradient2 => {
                let short = took?;
                let long =
                    state.long.map_or(short, |long| long + (short - long) * 2.0 / (LONG + 1.0));
                // Back from a load that has lasted.
                state.long = Some(if long / short > 2.0 { long * 0.95 } else { long });
                if !used {
                    return None;
                }
                let gradient = (1.5 * long / short).clamp(0.5, 1.0);
                Some(0.8 * limit + 0.2 * (gradient * limit + 4.0))
            }
            Self::Vegas => {
                let took = took?;
                state.samples += 1;
                let shortest = sample.shortest.map_or(took, |shortest| shortest.as_secs_f64());
                let known = state.shortest.filter(|_| !state.samples.is_multiple_of(FORGOTTEN));
                let shortest = known.map_or(shortest, |known| known.min(shortest)).max(1e-9);
                state.shortest = Some(shortest);
                let log = limit.log10().max(1.0);
                if sample.dropped {
                    return Some(limit - log);
                }
                let queue = (limit * (1.0 - shortest / took)).ceil();
                match queue {
                    _ if !used => None,
                    _ if queue <= log => Some(limit + 6.0 * log),
                    _ if queue < 3.0 * log => Some(limit + log),
                    _ if queue > 6.0 * log => Some(limit - log),
                    _ => None,
                }
            }
        }
    }
}

fn target(Bounds { floor, ceiling }: &Bounds, threshold: f64, load: f64) -> u64 {
    if load >= 1.0 {
        return *floor;
    }
    if load <= threshold {
        return *ceiling;
    }
    let share = (1.0 - load) / (1.0 - threshold);
    floor + ((ceiling - floor) as f64 * share) as u64
}

fn step(from: u64, to: u64, smoothing: f64) -> u64 {
    let way = from.abs_diff(to);
    let part = ((way as f64 * smoothing).ceil() as u64).min(way);
    if to > from { from + part } else { from - part }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { floor: 10, ceiling: 1_000 };

    fn by_load(threshold: f64, smoothing: f64, limit: u64, load: f64) -> u64 {
        let sample = Sample { load, ..Sample::default() };
        Law::Load { threshold, smoothing }.next(&mut State::default(), &BOUNDS, limit, &sample).0
    }

    #[test]
    fn the_table_of_loads_holds() {
        for (threshold, load, limit) in [
            (0.8, 0.0, 1_000),
            (0.8, 0.8, 1_000),
            (0.8, 0.9, 505),
            (0.8, 1.0, 10),
            (0.8, 7.0, 10),
            (1.0, 0.999, 1_000),
            (1.0, 1.0, 10),
            (0.0, 0.0, 1_000),
            (0.0, 0.5, 505),
            (0.0, 1.0, 10),
            (0.8, UNKNOWN, 1_000),
        ] {
            assert_eq!(by_load(threshold, 1.0, 300, load), limit, "{threshold} {load}");
        }
    }

    #[test]
    fn it_arrives() {
        for load in [0.0, 0.9, 1.0] {
            let target = by_load(0.8, 1.0, 0, load);
            let mut limit = 300;
            for _ in 0..100 {
                limit = by_load(0.8, 0.1, limit, load);
            }
            assert_eq!(limit, target);
        }
    }

    fn process(law: Law, state: &mut State, limit: u64, sample: &Sample) -> u64 {
        law.next(state, &BOUNDS, limit, sample).0
    }

    fn took(inflight: u64, ms: u64) -> Sample {
        let took = Some(Duration::from_millis(ms));
        Sample { inflight, took, shortest: took, ..Sample::default() }
    }

    #[test]
    fn the_laws_of_a_process_are_those_of_their_sources() {
        let mut state = State::default();
        let dropped = Sample { dropped: true, ..took(100, 10) };
        assert_eq!(process(Law::Aimd, &mut state, 100, &dropped), 90);
        assert_eq!(process(Law::Aimd, &mut state, 90, &took(45, 10)), 91);
        assert_eq!(process(Law::Aimd, &mut state, 91, &took(45, 10)), 91);
        // As long as ever: 0.8 L + 0.2 (L + 4).
        let mut state = State::default();
        assert_eq!(process(Law::Gradient2, &mut state, 100, &took(50, 10)), 101);
        assert_eq!(process(Law::Gradient2, &mut state, 101, &took(50, 10)), 101);
        // Six times as long: half of it, of which a fifth counts.
        assert_eq!(process(Law::Gradient2, &mut state, 101, &took(99, 60)), 92);
        let mut state = State::default();
        assert_eq!(process(Law::Vegas, &mut state, 100, &took(60, 10)), 112);
        // 5 and 10 seem to wait, and 50.
        assert_eq!(
            process(Law::Vegas, &mut state, 100, &Sample { shortest: None, ..took(60, 10) }),
            112
        );
        let slower = |permille: u64| Sample {
            took: Some(Duration::from_micros(10_000_000 / (1_000 - permille))),
            ..took(60, 10)
        };
        assert_eq!(process(Law::Vegas, &mut state, 100, &slower(45)), 102);
        assert_eq!(process(Law::Vegas, &mut state, 100, &slower(95)), 100);
        assert_eq!(process(Law::Vegas, &mut state, 100, &slower(500)), 98);
        // Nobody called.
        for law in [Law::Aimd, Law::Gradient2, Law::Vegas] {
            assert_eq!(process(law, &mut State::default(), 77, &Sample::default()), 77);
        }
    }

    proptest! {
        #[test]
        fn a_load_moves_it_within_its_bounds_and_no_further_than_it_may(
            threshold in 0.0..=1.0_f64,
            smoothing in 0.001..=1.0_f64,
            limit in 10..=1_000_u64,
            load in -1.0..3.0_f64,
            more in 0.0..2.0_f64,
        ) {
            let to = by_load(threshold, smoothing, limit, load);
            prop_assert!((10..=1_000).contains(&to));
            prop_assert!(to.abs_diff(limit) as f64 <= (990.0 * smoothing).ceil());
            // The more load, the less.
            prop_assert!(by_load(threshold, smoothing, limit, load + more) <= to);
        }

        #[test]
        fn no_law_leaves_its_bounds(
            which in 0..3_usize,
            samples in prop::collection::vec(
                (0..2_000_u64, prop::option::of(0..5_000_u64), prop::option::of(0..5_000_u64), any::<bool>()), 1..200),
        ) {
            let law = [Law::Aimd, Law::Gradient2, Law::Vegas][which];
            let (mut state, mut limit) = (State::default(), 500);
            for (inflight, took, shortest, dropped) in samples {
                let [took, shortest] = [took, shortest].map(|ms| ms.map(Duration::from_millis));
                let sample = Sample { load: 0.0, inflight, took, shortest, dropped };
                let (to, load) = law.next(&mut state, &BOUNDS, limit, &sample);
                prop_assert!((10..=1_000).contains(&to) && load >= 0.0);
                prop_assert!(to.abs_diff(limit) as f64 <= (limit as f64 * 0.1 + 18.0).ceil());
                limit = to;
            }
        }
    }
}
