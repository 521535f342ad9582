//! What a decision is while Redis does not answer.

use russet_core_conn::{Error, ErrorKind};

/// What a decision is while Redis does not answer: within the [budget](crate::LimiterBuilder::budget) of a round trip, and
/// at once as long as it is known to be away.
///
/// | | for |
/// |---|---|
/// | [`Local`](Self::Local) | APIs: they stay up, and are still protected. The default |
/// | [`Closed`](Self::Closed) | logins, codes, payments: where the limit is what keeps somebody from guessing |
/// | [`Open`](Self::Open) | limits that are for fairness only |
/// | [`Error`](Self::Error) | programs that decide for themselves, and tests that count |
///
/// `Local` is the default because of what the others do to a program whose Redis has died: an error, or a denial, makes its
/// end that of the program, and admitting everything exposes what the limit protects when things go badly already.
///
/// A decision over several levels goes by all of their policies: where one is `Error` it is an error; else, where one is
/// `Closed`, it is denied; else those that are `Local` must admit it, or nothing is spent; those that are `Open` admit it.
/// On a cluster only the levels whose servers do not answer are decided so; the others decide as ever.
///
/// It holds for `check`, `check_n`, `at_most` and `peek`, and for what is made of them. What is kept in Redis to be given
/// back, or to be told of, is an error without it: `reserve`, `acquire`, `process`, `penalize`, `block`, `reset`, `top_up`,
/// `status`.
///
/// An outage is what a later call may find over: no connection, no answer in time, a failover, a server that is loading.
/// What it is not is an error as ever: a cost that can never be met, a right that is missing, a key of another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Outage {
    /// The process decides by a limit of its own: its share of the limit, by the nodes that there were when Redis was last
    /// heard of ([`LimiterBuilder::nodes`](crate::LimiterBuilder::nodes)). [`Source::Fallback`](crate::Source::Fallback).
    ///
    /// Under even load the fleet admits what the limit is, within what rounding makes of it: the rate is exact, and
    /// bursts are those of the share, at least one unit. It begins with nothing spent: what Redis knows to be spent in this
    /// window is spent once more. Buckets and queues stay what they are; refills by steps become even; windows, logs and
    /// counters of any kind become windows from the first hit; permits become so many in the time for which one is held.
    /// Blocks are not known, and no class is shed.
    ///
    /// For 100,000 subjects at a time; where there are more, those that have regained all are forgotten, or everybody
    /// begins anew.
    #[default]
    Local,
    /// Everything is admitted, and nothing counted.
    Open,
    /// Everything is denied, with [`Reason::Outage`](crate::Reason::Outage), and no time is told: nobody knows it.
    Closed,
    /// There is no decision, but [`Error::Redis`](crate::Error::Redis), within the deadline of the handle.
    Error,
}

/// Whether nobody answers, and somebody may later.
pub(crate) fn is_outage(error: &Error) -> bool {
    error.is_retryable() || matches!(error.kind(), ErrorKind::GaveUp { .. })
}
