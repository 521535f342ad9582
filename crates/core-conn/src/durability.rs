//! How safe a write must be before it counts as done.

use std::fmt;
use std::time::{Duration, Instant};

use crate::cmd::Cmd;
use crate::error::{Error, ErrorKind};
use crate::link::LinkError;
use crate::value::{Value, server_error};

/// How safe a write must be before it counts as done. See [`Redis::with_durability`](crate::Redis::with_durability).
///
/// | | counts as done when | survives | costs |
/// |---|---|---|---|
/// | `Async` | the primary has applied it | a lost connection | nothing |
/// | `Replicas(n)` | n replicas have it in memory, too | the death of the primary, if one of those n takes over | a round trip to the replicas, and a connection for as long |
/// | `Fsync` | it is in the primary's append-only file, on disk | a restart of the primary with its disk | a sync of the disk |
///
/// What is not confirmed in time is no failure: it is applied on the primary, and nobody knows for how long. The error
/// is [`ErrorKind::NotDurable`], its outcome [`Unknown`](crate::SendOutcome::Unknown).
///
/// A durable write is sent once, whatever its class: sent again after a lost connection it might change nothing, and for
/// what a connection has not written the server waits for nobody (Redis 7.2 and later, Valkey). For the same reason a
/// command that finds its work done already, by somebody else's write, confirms nothing of that write.
///
/// `Replicas` is not consensus: a replica that did not acknowledge may be the one that takes over. Only n of all
/// replicas that may be promoted exclude that. Among those is a dead primary that has come back with what its disk had,
/// until it follows the new one: Sentinel may promote it before that. Seen in 2 of 4 runs on a busy machine, where all
/// sentinels were starved for a second just then: 628 of 15,104 writes that the only replica had acknowledged were gone in
/// one, 2,527 of 17,268 in the other. Let a server come back with `replica-priority 0`, and raise it when it follows.
///
/// # What a failover takes back
///
/// Measured in <!--soak sentinel_failovers_1: rounds-->20 failovers each under Sentinel (Redis 7.0.15; half of them by `kill -9`, half ordered by
/// `SENTINEL FAILOVER`; no other election), while 8 tasks of each kind wrote; what had been acknowledged was then looked for on the last
/// primary (`soak_sentinel_failovers`):
///
/// | | replicas | acknowledged | of these lost | unknown |
/// |---|---|---|---|---|
/// | `Async` | 1 | <!--soak sentinel_failovers_1: acknowledged_async-->156,345 | **<!--soak sentinel_failovers_1: lost_async-->16,082** | <!--soak sentinel_failovers_1: unknown_async-->45 |
/// | `Replicas(1)` | 1 | <!--soak sentinel_failovers_1: acknowledged_replicas-->29,930 | <!--soak sentinel_failovers_1: lost_replicas-->0 | <!--soak sentinel_failovers_1: unknown_replicas-->2,317 |
/// | `Async` | 2 | <!--soak sentinel_failovers_2: acknowledged_async-->168,074 | **<!--soak sentinel_failovers_2: lost_async-->20,051** | <!--soak sentinel_failovers_2: unknown_async-->51 |
/// | `Replicas(2)` | 2 | <!--soak sentinel_failovers_2: acknowledged_replicas-->29,505 | <!--soak sentinel_failovers_2: lost_replicas-->0 | <!--soak sentinel_failovers_2: unknown_replicas-->2,535 |
///
/// The same in a cluster of three primaries with a replica each, in <!--soak cluster_durability: rounds-->21 failovers of one shard: a third by `kill -9`, a
/// third of a primary that the other nodes lost while clients still reached it, a third by `CLUSTER FAILOVER`
/// (`soak_cluster_durability`):
///
/// | | replicas | acknowledged | of these lost | unknown |
/// |---|---|---|---|---|
/// | `Async` | 1 | <!--soak cluster_durability: acknowledged_async-->50,740 | **<!--soak cluster_durability: lost_async-->33,657** | <!--soak cluster_durability: unknown_async-->588 |
/// | `Replicas(1)` | 1 | <!--soak cluster_durability: acknowledged_replicas-->15,679 | <!--soak cluster_durability: lost_replicas-->0 | <!--soak cluster_durability: unknown_replicas-->1,133 |
///
/// A primary that is cut off takes writes until it has missed the others for `cluster-node-timeout`: all of them are lost.
///
/// Under Sentinel an ordered failover is no safer than a death: the old primary takes writes until the sentinels demote it,
/// and the new one has none of these. `Fsync` says nothing of a failover.
///
/// # What a restart takes back
///
/// Measured in <!--soak fsync: kills-->10 restarts of one server, each after `kill -9` (Valkey 9.1.2, `appendonly yes`, `appendfsync everysec`), while
/// 8 tasks of each kind wrote. What a killed process has written to its file is there all the same, and only a machine that
/// dies with it would lose it; so in half of them the file was turned off for the last 100 ms (`soak_fsync`):
///
/// | | acknowledged | of these lost | unknown |
/// |---|---|---|---|
/// | `Async` | <!--soak fsync: acknowledged_async-->1,581 | **<!--soak fsync: lost_async-->1,188** | <!--soak fsync: unknown_async-->48 |
/// | `Fsync` | <!--soak fsync: acknowledged_fsync-->350 | <!--soak fsync: lost_fsync-->0 | <!--soak fsync: unknown_fsync-->1,255 |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Applied on the primary, which copies it to its replicas when it can.
    #[default]
    Async,
    /// Acknowledged by this many replicas (`WAIT`).
    Replicas(u32),
    /// Written to the primary's append-only file and synced (`WAITAOF`). Needs Redis 7.2 or Valkey with `appendonly`
    /// on; [`ErrorKind::Unsupported`] otherwise, and nothing is sent. With `appendfsync everysec` it takes up to a
    /// second or two, so give it a longer deadline.
    Fsync,
}

/// A tenth of a second at the server's default `hz` of 10, and a little.
const TIMEOUTS_EVERY: Duration = Duration::from_millis(110);

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Async => f.write_str("async"),
            Self::Replicas(n) => write!(f, "{n} replicas"),
            Self::Fsync => f.write_str("fsync"),
        }
    }
}

impl Durability {
    /// The command that waits for it, for most of the time that is left: its answer must come in time, too, and an idle
    /// server looks at its timeouts every 100 ms only.
    pub(crate) fn wait(self, deadline: Instant) -> Option<Cmd> {
        let left = deadline.saturating_duration_since(Instant::now());
        let spare = (TIMEOUTS_EVERY + left / 20).min(left / 2);
        // Zero would mean without end.
        let millis = u64::try_from((left - spare).as_millis()).unwrap_or(u64::MAX).max(1);
        match self {
            Self::Async => None,
            Self::Replicas(n) => Some(Cmd::internal("WAIT").arg(n).arg(millis)),
            Self::Fsync => Some(Cmd::internal("WAITAOF").arg(1).arg(0).arg(millis)),
        }
    }

    /// Whether the answer of that command confirms it.
    pub(crate) fn confirm(self, answer: Result<Value, LinkError>) -> Result<(), Error> {
        let answer = answer.map_err(|error| match error {
            // The write was answered already: this can't make it a refusal.
            LinkError::Server(words) => Error::unknown(server_error(&words, false).kind().clone()),
            LinkError::Lost(reason) => Error::unknown(ErrorKind::ConnectionLost(reason)),
        })?;
        let (wanted, acknowledged) = match (self, &answer) {
            (Self::Async, _) => return Ok(()),
            (Self::Replicas(n), Value::Int(acknowledged)) => (i64::from(n), *acknowledged),
            (Self::Fsync, Value::Array(both)) => match both[..] {
                [Value::Int(local), Value::Int(_)] => (1, local),
                _ => (1, 0),
            },
            _ => {
                let expected = "a number of acknowledgements";
                let kind = ErrorKind::Unexpected { expected, found: answer.describe() };
                return Err(Error::unknown(kind));
            }
        };
        if acknowledged >= wanted {
            return Ok(());
        }
        let acknowledged = u32::try_from(acknowledged).unwrap_or_default();
        Err(Error::unknown(ErrorKind::NotDurable { wanted: self, acknowledged }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SendOutcome;

    #[test]
    fn only_enough_acknowledgements_confirm() {
        let two = Durability::Replicas(2);
        assert!(two.confirm(Ok(Value::Int(2))).is_ok());
        let error = two.confirm(Ok(Value::Int(1))).unwrap_err();
        assert_eq!(error.outcome(), SendOutcome::Unknown);
        assert!(matches!(error.kind(), ErrorKind::NotDurable { acknowledged: 1, .. }), "{error}");
        let local = |n| Ok(Value::Array(vec![Value::Int(n), Value::Int(9)]));
        assert!(Durability::Fsync.confirm(local(1)).is_ok());
        assert!(Durability::Fsync.confirm(local(0)).is_err());
        assert!(Durability::Fsync.confirm(Ok(Value::Nil)).is_err());
        assert!(two.confirm(Ok(Value::Bytes("2".into()))).is_err());
    }

    #[test]
    fn a_refused_wait_leaves_the_write_unknown() {
        let refused = Err(LinkError::Server("NOPERM no WAIT".into()));
        let error = Durability::Replicas(1).confirm(refused).unwrap_err();
        assert_eq!(error.outcome(), SendOutcome::Unknown);
        assert!(error.server().is_some());
    }

    #[test]
    fn the_wait_ends_before_the_deadline_and_never_waits_for_ever() {
        let wait = Durability::Replicas(1).wait(Instant::now()).unwrap();
        assert_eq!(wait.arguments()[1], "1");
        let wait = Durability::Replicas(3).wait(Instant::now() + Duration::from_secs(10)).unwrap();
        let millis: u64 = std::str::from_utf8(&wait.arguments()[1]).unwrap().parse().unwrap();
        assert!((9_000..=9_500).contains(&millis), "{millis}");
    }
}
