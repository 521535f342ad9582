//! The algorithms, without Redis: what a script is given, and what its facts mean.

use crate::ticks::millis;

/// An algorithm with its numbers; times are ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    Bucket { capacity: u64, each: u64 },
    Queue { capacity: u64, each: u64, longest: u64 },
    Window { limit: u64, ticks: u64, refill: u64, aligned: bool },
    Counter { limit: u64, ticks: u64 },
    Strict { limit: u64, part: u64, parts: u64 },
    Log { limit: u64, ticks: u64 },
    Permits { limit: u64, ticks: u64 },
}

/// What a script says of a level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Facts(pub(crate) [u64; 3]);

/// What that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Meaning {
    /// Spent, and how much more could be.
    pub(crate) used: u64,
    pub(crate) remaining: u64,
    /// Until the cost fits, if it does not.
    pub(crate) wait: u64,
    /// Until nothing is spent.
    pub(crate) reset: u64,
    /// Until its turn has come.
    pub(crate) delay: u64,
}

impl Rule {
    pub(crate) fn limit(&self) -> u64 {
        match *self {
            Self::Bucket { capacity, .. } | Self::Queue { capacity, .. } => capacity,
            Self::Window { limit, .. }
            | Self::Counter { limit, .. }
            | Self::Strict { limit, .. }
            | Self::Log { limit, .. }
            | Self::Permits { limit, .. } => limit,
        }
    }

    /// Until all of it is regained.
    pub(crate) fn period(&self) -> u64 {
        match *self {
            Self::Bucket { capacity, each } | Self::Queue { capacity, each, .. } => capacity * each,
            Self::Window { limit, ticks, refill, .. } => limit.div_ceil(refill) * ticks,
            Self::Counter { ticks, .. } | Self::Log { ticks, .. } | Self::Permits { ticks, .. } => {
                ticks
            }
            Self::Strict { part, parts, .. } => part * parts,
        }
    }

    /// The same, as it was asked for: without what ticks have rounded up.
    #[cfg(feature = "http")]
    pub(crate) fn window(&self) -> std::time::Duration {
        crate::ticks::time(match *self {
            Self::Bucket { capacity, each } | Self::Queue { capacity, each, .. } => {
                capacity * (each - 1) + 1
            }
            Self::Strict { part, parts, .. } => (part - 1) * parts + 1,
            _ => self.period(),
        })
    }

    /// For how long a key must be kept, in ms: what is spent, and a debt of as much, matter no longer then.
    pub(crate) fn kept(&self) -> u64 {
        let extra = match *self {
            // The part that is partly out of the window.
            Self::Strict { part, .. } => part,
            _ => 0,
        };
        let spans = match self {
            Self::Log { .. } | Self::Permits { .. } | Self::Strict { .. } => 1,
            _ => 2,
        };
        millis(spans * self.period() + extra)
    }

    /// Its name in the field.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Bucket { .. } => "bucket",
            Self::Queue { .. } => "queue",
            Self::Window { .. } => "window",
            Self::Counter { .. } => "counter",
            Self::Strict { .. } => "strict",
            Self::Log { .. } => "log",
            Self::Permits { .. } => "permits",
        }
    }

    /// The most ticks that may be ahead in a bucket, with this cost spent; some units are left to others.
    pub(crate) fn most(&self, cost: u64, left: u64) -> u64 {
        match *self {
            Self::Bucket { capacity, each } => (capacity - left.min(capacity)) * each,
            Self::Queue { capacity, each, longest } => {
                ((capacity - left.min(capacity)) * each).min(longest + cost * each)
            }
            _ => 0,
        }
    }

    /// So many units, as a refund counts them.
    pub(crate) fn refunded(&self, units: u64) -> u64 {
        match self {
            Self::Bucket { each, .. } | Self::Queue { each, .. } => units * each,
            _ => units,
        }
    }

    /// How many were waiting before it.
    pub(crate) fn waiting(&self, Facts([ahead, ..]): Facts) -> u64 {
        match self {
            Self::Queue { each, .. } => ahead.div_ceil(*each),
            _ => 0,
        }
    }

    /// How many facts a script says.
    pub(crate) fn facts(&self) -> usize {
        match self {
            Self::Strict { .. } | Self::Log { .. } | Self::Permits { .. } => 3,
            _ => 2,
        }
    }

    /// What the facts mean for this cost, of which so much was spent; `left` is for others, `limit` a lower one.
    pub(crate) fn read(&self, facts: Facts, now: u64, cost: u64, spent: u64, left: u64) -> Meaning {
        let Facts([first, second, third]) = facts;
        let limit = self.limit() - left.min(self.limit());
        let fits = |used: u64| used + cost <= limit;
        match *self {
            Self::Bucket { each, .. } | Self::Queue { each, .. } => {
                let most = self.most(cost, left);
                let after = first + spent * each;
                let room = (limit * each).saturating_sub(after) / each;
                Meaning {
                    used: after.div_ceil(each),
                    remaining: room,
                    wait: (first + cost * each).saturating_sub(most),
                    reset: after,
                    delay: if matches!(self, Self::Queue { .. }) { first } else { 0 },
                }
            }
            Self::Window { ticks, refill, .. } => {
                let after = first + spent;
                let until = |units: u64| match units {
                    0 => 0,
                    _ => second + (units.div_ceil(refill) - 1) * ticks - now,
                };
                Meaning {
                    used: after,
                    remaining: limit.saturating_sub(after),
                    wait: until((first + cost).saturating_sub(limit)),
                    reset: until(after),
                    delay: 0,
                }
            }
            Self::Counter { ticks, .. } => {
                let sliding = Sliding { start: now - now % ticks, ticks };
                let used = first + spent + sliding.weighted(second, now);
                let reset = match (first + spent, second) {
                    (0, 0) => 0,
                    (0, _) => sliding.start + ticks - now,
                    _ => sliding.start + 2 * ticks - now,
                };
                let before = first + sliding.weighted(second, now);
                let wait = if fits(before) {
                    0
                } else {
                    sliding.wait(first, second, now, limit.saturating_sub(cost))
                };
                Meaning { used, remaining: limit.saturating_sub(used), wait, reset, delay: 0 }
            }
            Self::Strict { part, parts, .. } => {
                let used = first + spent;
                let reset = if spent > 0 { (now / part + parts + 1) * part - now } else { third };
                let remaining = limit.saturating_sub(used);
                Meaning { used, remaining, wait: second, reset, delay: 0 }
            }
            Self::Log { ticks, .. } | Self::Permits { ticks, .. } => {
                let used = first + spent;
                let reset = if spent > 0 { ticks } else { third };
                let remaining = limit.saturating_sub(used);
                Meaning { used, remaining, wait: second, reset, delay: 0 }
            }
        }
    }
}

/// Two windows, the last one weighted: by grains, so that all of it is whole numbers.
pub(crate) struct Sliding {
    pub(crate) start: u64,
    pub(crate) ticks: u64,
}

impl Sliding {
    fn grain(&self) -> (u64, u64) {
        let grain = self.ticks.div_ceil(1_000_000);
        (grain, self.ticks.div_ceil(grain))
    }

    /// What of the last window's still counts.
    pub(crate) fn weighted(&self, last: u64, now: u64) -> u64 {
        let (grain, grains) = self.grain();
        (last * (grains - (now - self.start) / grain)).div_ceil(grains)
    }

    /// Until no more than so much counts, with nothing spent meanwhile.
    fn wait(&self, spent: u64, last: u64, now: u64, most: u64) -> u64 {
        let (grain, grains) = self.grain();
        // The first time in a window at which so much of `last` is no more than there is room.
        let place = |last: u64, room: u64| match last {
            0 => 0,
            _ => (grains.saturating_sub(room * grains / last) * grain).min(self.ticks),
        };
        let at = match most.checked_sub(spent) {
            Some(room) => self.start + place(last, room),
            None => self.start + self.ticks + place(spent, most),
        };
        at.saturating_sub(now)
    }
}
