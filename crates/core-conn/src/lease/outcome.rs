//! What became of a lease. All of these are values: nothing here is an error.

use std::time::Duration;

use super::{Fence, Lease};
use crate::Error;

/// Whether the lease was got.
#[derive(Debug)]
#[must_use = "a lease that is dropped is given back"]
pub enum Acquired {
    /// It is yours.
    Held(Lease),
    /// Another has it.
    Busy(Busy),
}

impl Acquired {
    /// The lease, if it was got.
    pub fn held(self) -> Option<Lease> {
        match self {
            Self::Held(lease) => Some(lease),
            Self::Busy(_) => None,
        }
    }
}

/// Another has the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Busy {
    /// The fencing number of who has it.
    pub fence: Fence,
    /// When it ends if it is not renewed or given back before: asking again is certain to be in vain no longer.
    pub retry_after: Duration,
}

/// What the server said to giving a lease back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "`WasLost`: somebody else may have had the lease while you thought it yours"]
pub enum Released {
    /// Nobody else had it between your acquire and this.
    Yes,
    /// It was lost before: somebody else has had it, or the server forgot it. Nobody's lease was touched.
    WasLost,
}

/// What the server said to [`Lease::extend`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "`WasLost`: the lease is not yours any more"]
pub enum Extended {
    /// It is yours for so long, the margin already taken off.
    Until(Duration),
    /// It was lost before.
    WasLost,
}

/// Why a lease was lost.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Loss {
    /// The server said that it is not yours any more: somebody has had it since, or the server forgot it.
    Ended {
        /// The fencing number that was given last, if the server knows one.
        given: Option<Fence>,
    },
    /// It could not be confirmed in time: by this process's clock the server may soon give it to another.
    Unconfirmed {
        /// Why the last attempt failed, if one ended before the time was over.
        last: Option<Error>,
    },
}

/// What became of [`Lease::run`].
#[derive(Debug)]
#[must_use = "the work may have been cut"]
pub enum Ran<T> {
    /// The work ended before the lease did, by this process's clock.
    Done {
        /// What the work gave.
        output: T,
        /// What the server said to giving the lease back; an error leaves it to its end.
        released: Result<Released, Error>,
    },
    /// The lease was lost first, and the work's future, or what it gave too late, was dropped.
    Cut(Loss),
}
