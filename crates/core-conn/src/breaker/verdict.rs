//! What the end of a call says of what was called.

use crate::{Error, ErrorKind, SendOutcome, ServerError};

/// What the end of a call says of what was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is there and answers, perhaps with a refusal.
    Success,
    /// It can't be reached, or does not answer in time.
    Failure,
    /// Nothing: the call never got near it.
    Ignored,
}

impl Verdict {
    /// The verdict on an error of this crate, which [`Breaker::builder`](crate::Breaker::builder) goes by.
    ///
    /// | verdict | kinds |
    /// |---|---|
    /// | failure | [`NotConnected`](ErrorKind::NotConnected), [`GaveUp`](ErrorKind::GaveUp), [`Connect`](ErrorKind::Connect), [`Tls`](ErrorKind::Tls), [`Credentials`](ErrorKind::Credentials), [`ConnectionLost`](ErrorKind::ConnectionLost), [`Desync`](ErrorKind::Desync), and [`Server`](ErrorKind::Server) where it refused the connection and nothing was sent: it can't be reached |
    /// | | [`Deadline`](ErrorKind::Deadline), [`Backpressure`](ErrorKind::Backpressure): it does not answer in time, sent or not |
    /// | | [`Server`](ErrorKind::Server) with `LOADING`, `BUSY`, `MASTERDOWN`, `CLUSTERDOWN` or the maximum of clients: it says itself that it serves nobody |
    /// | ignored | whatever else was not sent: [`Config`](ErrorKind::Config), [`Refused`](ErrorKind::Refused), [`Closed`](ErrorKind::Closed), [`Codec`](ErrorKind::Codec), [`Key`](ErrorKind::Key), [`BreakerOpen`](ErrorKind::BreakerOpen) |
    /// | success | whatever else the server answered: `WRONGTYPE`, `NOPERM`, `NOSCRIPT`, `OOM`, `READONLY` and all others, [`Unexpected`](ErrorKind::Unexpected), [`Layout`](ErrorKind::Layout), [`NotDurable`](ErrorKind::NotDurable) |
    ///
    /// `OOM`, `READONLY`, `NOREPLICAS` and `MISCONF` refuse writes while reads go on: a program whose calls are all
    /// writes may count them as failures by a rule of its own.
    pub fn of(error: &Error) -> Self {
        let serves_nobody = |error: &ServerError| {
            matches!(
                error,
                ServerError::Loading
                    | ServerError::Busy
                    | ServerError::MasterDown
                    | ServerError::ClusterDown
                    | ServerError::MaxClients
            )
        };
        match error.kind() {
            ErrorKind::NotConnected(_)
            | ErrorKind::GaveUp { .. }
            | ErrorKind::Connect(_)
            | ErrorKind::Tls(_)
            | ErrorKind::Credentials(_)
            | ErrorKind::ConnectionLost(_)
            | ErrorKind::Desync(_)
            | ErrorKind::Deadline(_)
            | ErrorKind::Backpressure { .. } => Self::Failure,
            ErrorKind::Server(server) if serves_nobody(server) => Self::Failure,
            // The connection was refused, and with it the call.
            ErrorKind::Server(_) if error.outcome() == SendOutcome::NotSent => Self::Failure,
            _ if error.outcome() == SendOutcome::NotSent => Self::Ignored,
            _ => Self::Success,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_table_holds() {
        use SendOutcome::{NotSent, Rejected, Unknown};
        use Verdict::{Failure, Ignored, Success};
        let deadline = || ErrorKind::Deadline(Duration::from_millis(1));
        let unexpected = ErrorKind::Unexpected { expected: "a", found: "b".into() };
        for (kind, outcome, verdict) in [
            (ErrorKind::NotConnected("away".into()), NotSent, Failure),
            (ErrorKind::GaveUp { attempts: 1, reason: "away".into() }, NotSent, Failure),
            (ErrorKind::Connect("refused".into()), NotSent, Failure),
            (ErrorKind::Credentials("no provider".into()), NotSent, Failure),
            (ErrorKind::Server(ServerError::WrongPass), NotSent, Failure),
            (ErrorKind::ConnectionLost("reset".into()), Unknown, Failure),
            (ErrorKind::Desync("slipped".into()), Unknown, Failure),
            (deadline(), NotSent, Failure),
            (deadline(), Unknown, Failure),
            (ErrorKind::Backpressure { waiting: 1 }, NotSent, Failure),
            (ErrorKind::Refused("no".into()), NotSent, Ignored),
            (ErrorKind::Closed, NotSent, Ignored),
            (ErrorKind::Unsupported("old".into()), NotSent, Ignored),
            (unexpected, Unknown, Success),
        ] {
            let error = Error::new(kind, outcome);
            assert_eq!(Verdict::of(&error), verdict, "{error}");
        }
        for (words, verdict) in [
            ("LOADING Redis is loading", Failure),
            ("BUSY Redis is busy", Failure),
            ("MASTERDOWN Link is down", Failure),
            ("CLUSTERDOWN Hash slot not served", Failure),
            ("ERR max number of clients reached", Failure),
            ("WRONGTYPE Operation against", Success),
            ("NOPERM this user", Success),
            ("OOM command not allowed", Success),
            ("READONLY You can't write", Success),
            ("MOVED 1 a:1", Success),
            ("ERR unknown command", Success),
        ] {
            let error = Error::new(ErrorKind::Server(ServerError::parse(words)), Rejected);
            assert_eq!(Verdict::of(&error), verdict, "{words}");
        }
    }
}
