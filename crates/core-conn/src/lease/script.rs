//! The three scripts of a lease: their arguments as fields, their answers as enums.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use crate::error::{Error, ErrorKind, SendOutcome};
use crate::{Fence, Key, Redis, Script};

static ACQUIRE: LazyLock<Script> =
    LazyLock::new(|| Script::new("lease_acquire", include_str!("../scripts/lease_acquire.lua")));
static RENEW: LazyLock<Script> =
    LazyLock::new(|| Script::new("lease_renew", include_str!("../scripts/lease_renew.lua")));
static RELEASE: LazyLock<Script> =
    LazyLock::new(|| Script::new("lease_release", include_str!("../scripts/lease_release.lua")));

/// Proves who has a lease: 128 random bits, drawn for each acquire. Whoever knows it can give the lease back, so it is
/// in no `Debug`.
#[derive(Clone)]
pub(super) struct Token(String);

impl Token {
    pub(super) fn draw() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// How long a lease lasts, and how long its key outlives it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime {
    pub(super) ttl: Duration,
    pub(super) memory: Duration,
}

/// What was said to an acquire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    Granted {
        fence: Fence,
        left: Duration,
    },
    Busy {
        fence: Fence,
        left: Duration,
    },
    /// The token has had the lease before, and that is over.
    Spent,
}

/// What was said to a renewal.
#[derive(Debug, Clone, Copy)]
pub(super) enum Renewed {
    Yes { left: Duration },
    No { given: Option<Fence> },
}

/// One trip. May be repeated: a token is granted a lease once.
pub(super) async fn acquire(
    redis: &Redis,
    key: &Key,
    token: &Token,
    life: Lifetime,
) -> Result<Asked, Error> {
    let call = ACQUIRE.key(key).arg(&token.0).arg(micros(life.ttl)).arg(millis(life.memory));
    let (status, fence, left): (i64, u64, u64) = redis.script(call).await?;
    let (fence, left) = (Fence::new(fence), Duration::from_micros(left));
    match status {
        1 => Ok(Asked::Granted { fence, left }),
        0 => Ok(Asked::Busy { fence, left }),
        2 => Ok(Asked::Spent),
        other => Err(strange(other)),
    }
}

/// One trip. May be repeated: it never shortens, and what was given back stays so.
pub(super) async fn renew(
    redis: &Redis,
    key: &Key,
    (token, fence): (&Token, Fence),
    life: Lifetime,
) -> Result<Renewed, Error> {
    let call = RENEW.key(key).arg(&token.0).arg(fence.number());
    let call = call.arg(micros(life.ttl)).arg(millis(life.memory));
    let (status, given, left): (i64, u64, u64) = redis.script(call).await?;
    match status {
        1 => Ok(Renewed::Yes { left: Duration::from_micros(left) }),
        0 => Ok(Renewed::No { given: (given > 0).then(|| Fence::new(given)) }),
        other => Err(strange(other)),
    }
}

/// One trip: whether the lease was still the token's. Where its connection is lost it is sent again, which does no
/// harm; but a "no" to that may speak of a successor, so the answer is then the first error.
pub(super) async fn release(redis: &Redis, key: &Key, token: &Token) -> Result<bool, Error> {
    let mut unknown = None;
    for _ in 0..redis.inner.rules.attempts {
        match redis.script::<i64>(RELEASE.key(key).arg(&token.0)).await {
            Ok(status @ 0..=1) => match unknown {
                Some(error) if status == 0 => return Err(error),
                _ => return Ok(status == 1),
            },
            Ok(other) => return Err(strange(other)),
            Err(error) if was_lost(&error) => unknown = unknown.or(Some(error)),
            Err(error) => return Err(unknown.unwrap_or(error)),
        }
    }
    // There is at least one attempt, and each that did not return left its error.
    Err(unknown.unwrap_or_else(|| Error::not_sent(ErrorKind::Closed)))
}

/// Whether the next connection may have the answer.
fn was_lost(error: &Error) -> bool {
    error.outcome() == SendOutcome::Unknown
        && matches!(error.kind(), ErrorKind::ConnectionLost(_) | ErrorKind::Desync(_))
}

fn strange(status: i64) -> Error {
    let found = format!("status {status}");
    Error::unknown(ErrorKind::Unexpected { expected: "a status of this lease script", found })
}

/// Whole microseconds, rounded up.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// Whole milliseconds, rounded up.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
