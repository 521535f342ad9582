//! How limits are put to use: a page for each question that comes up.
//!
//! | page | in a sentence |
//! |---|---|
//! | [choosing] | which algorithm, and with which numbers |
//! | [levels] | many limits in one decision |
//! | [outages] | Redis is away: go on without a limit, or not at all |
//! | [proxies] | whose address it is |
//! | [waiting] | what a client does with a denial |
//! | [from_incr] | from INCR and EXPIRE to here |

#[doc = include_str!("guide/choosing.md")]
pub mod choosing {}

#[doc = include_str!("guide/levels.md")]
pub mod levels {}

#[doc = include_str!("guide/outages.md")]
pub mod outages {}

#[doc = include_str!("guide/proxies.md")]
pub mod proxies {}

#[doc = include_str!("guide/waiting.md")]
pub mod waiting {}

#[doc = include_str!("guide/from_incr.md")]
pub mod from_incr {}
