//! What goes wrong with caches, and what is done about it here: a page for each, with what a test sees.
//!
//! | page | in a sentence |
//! |---|---|
//! | [stampede] | a thousand miss at once, and the origin is asked a thousand times |
//! | [stale_fill] | what was read before a change is cached after it |
//! | [lost_invalidation] | one process changes something, and another goes on with what it remembers |
//! | [origin_down] | the database is away or slow |
//! | [redis_down] | Redis is away, hangs, is full, or has lost what it had |

#[doc = include_str!("guide/stampede.md")]
pub mod stampede {}

#[doc = include_str!("guide/stale_fill.md")]
pub mod stale_fill {}

#[doc = include_str!("guide/lost_invalidation.md")]
pub mod lost_invalidation {}

#[doc = include_str!("guide/origin_down.md")]
pub mod origin_down {}

#[doc = include_str!("guide/redis_down.md")]
pub mod redis_down {}
