use std::time::{Duration, Instant};

use crate::{Error, Result};

/// How often a cluster or its sentinels are looked at while something is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A wait with an end, for what is looked at again and again.
#[derive(Debug)]
pub(crate) struct Patience {
    begun: Instant,
    after: Duration,
}

impl Patience {
    pub(crate) fn new(after: Duration) -> Patience {
        Patience { begun: Instant::now(), after }
    }

    /// Waits a moment, or says that it was enough.
    ///
    /// `seen` is what stands against `what` being reached.
    pub(crate) async fn wait(&self, what: &str, seen: impl Into<String>) -> Result<()> {
        if self.begun.elapsed() > self.after {
            return Err(Error::NotReached {
                what: what.to_owned(),
                after: self.after,
                seen: seen.into(),
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }
}
