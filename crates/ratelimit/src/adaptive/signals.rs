//! What says how much load there is.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::future::join_all;
use russet_core_conn::{Cmd, Error, Redis, Role};

use super::law::UNKNOWN;
use crate::Limit;
use crate::limiter::Inner;

type Given = Box<dyn Fn() -> Option<f64> + Send + Sync>;

/// Which are looked at.
#[derive(Default)]
pub(super) struct Signals {
    pub(super) memory: bool,
    /// The longest time that is well, and what was known at the last sample.
    pub(super) latency: Option<(Duration, Took)>,
    pub(super) given: Vec<Given>,
}

impl Signals {
    /// The highest load that is known of.
    pub(super) async fn load(&mut self, limit: &Limit) -> f64 {
        let inner = &*limit.inner.limiter.inner;
        let mut known = Vec::new();
        if self.memory {
            known.push(memory(inner).await);
        }
        if let Some((worst, last)) = &mut self.latency {
            let took = inner.latency.since(last);
            known.push(took.map(|took| took.as_secs_f64() / worst.as_secs_f64()));
        }
        known.extend(self.given.iter().map(|given| given()));
        highest(known)
    }
}

/// Of several signals, some of which may be missing.
fn highest(known: impl IntoIterator<Item = Option<f64>>) -> f64 {
    let known = known.into_iter().flatten().filter(|load| load.is_finite());
    known.map(|load| load.max(0.0)).max_by(f64::total_cmp).unwrap_or(UNKNOWN)
}

/// Of the fullest primary.
async fn memory(inner: &Inner) -> Option<f64> {
    let redis = &inner.patient;
    let nodes = match inner.splits(redis).await {
        Ok(false) => vec![redis.clone()],
        Ok(true) => {
            let nodes = redis.nodes(Role::Primary).await.unwrap_or_default();
            nodes.iter().filter_map(|node| redis.on(node).ok()).collect()
        }
        Err(_) => return None,
    };
    let full = join_all(nodes.iter().map(fullness)).await;
    let full = full.into_iter().flat_map(|full| {
        full.unwrap_or_else(|error| {
            tracing::debug!(%error, "how full a server is can't be asked");
            None
        })
    });
    full.max_by(f64::total_cmp)
}

async fn fullness(redis: &Redis) -> Result<Option<f64>, Error> {
    redis.run::<String>(Cmd::read("INFO").arg("memory")).await.map(|info| parse(&info))
}

/// How much of its memory is used; `None` where there is no bound.
fn parse(info: &str) -> Option<f64> {
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line?.trim().parse::<f64>().ok()
    };
    let (used, most) = (field("used_memory")?, field("maxmemory")?);
    (most > 0.0).then(|| used / most)
}

/// How long decisions take, for those who want to know.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    pub(crate) wanted: std::sync::atomic::AtomicBool,
    decisions: AtomicU64,
    nanos: AtomicU64,
}

/// So many decisions have taken so many nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Took {
    decisions: u64,
    nanos: u64,
}

impl Latency {
    pub(crate) fn took(&self, time: Duration) {
        self.decisions.fetch_add(1, Relaxed);
        self.nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn so_far(&self) -> Took {
        Took { decisions: self.decisions.load(Relaxed), nanos: self.nanos.load(Relaxed) }
    }

    /// The average since then, which is now from here on.
    fn since(&self, last: &mut Took) -> Option<Duration> {
        let now = self.so_far();
        let Took { decisions, nanos } = std::mem::replace(last, now);
        let nanos = now.nanos.wrapping_sub(nanos);
        nanos.checked_div(now.decisions - decisions).map(Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_neither_load_nor_calm() {
        assert_eq!(highest([]), UNKNOWN);
        assert_eq!(highest([None, Some(f64::NAN)]), UNKNOWN);
        assert_eq!(highest([Some(0.2), None, Some(0.9), Some(-3.0)]), 0.9);
        assert_eq!(highest([Some(-3.0)]), 0.0);
    }

    #[test]
    fn memory_without_a_bound_is_no_signal() {
        let info = |most: &str| {
            format!("# Memory\r\nused_memory:50\r\nused_memory_rss:70\r\nmaxmemory:{most}\r\n")
        };
        assert_eq!(parse(&info("200")), Some(0.25));
        assert_eq!(parse(&info("0")), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn an_average_is_of_what_came_since_whoever_else_asks() {
        let latency = Latency::default();
        let (mut one, mut other) = (Took::default(), Took::default());
        assert_eq!(latency.since(&mut one), None);
        latency.took(Duration::from_millis(2));
        latency.took(Duration::from_millis(4));
        let three = Some(Duration::from_millis(3));
        assert_eq!((latency.since(&mut one), latency.since(&mut one)), (three, None));
        latency.took(Duration::from_millis(6));
        assert_eq!(latency.since(&mut one), Some(Duration::from_millis(6)));
        assert_eq!(latency.since(&mut other), Some(Duration::from_millis(4)));
    }
}
