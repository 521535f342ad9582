//! No more of something in a second than may be.

use std::time::Duration;

use tokio::time::Instant;

/// When the next ones may be done.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Option<f64>,
    next: Instant,
}

impl Pace {
    /// What is not above zero is no bound.
    pub(crate) fn new(rate: Option<f64>) -> Self {
        Self { rate: rate.filter(|rate| *rate > 0.0), next: Instant::now() }
    }

    /// When so many may be done: those after them may be later.
    pub(crate) fn turn(&mut self, count: usize) -> Instant {
        let turn = self.next.max(Instant::now());
        if let Some(rate) = self.rate {
            #[expect(clippy::cast_precision_loss, reason = "a batch is not that large")]
            let time = Duration::try_from_secs_f64(count as f64 / rate);
            self.next = turn + time.unwrap_or(Duration::from_secs(3_600));
        }
        turn
    }
}
