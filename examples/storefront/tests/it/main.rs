//! The storefront, tested from outside: its data, its judgement, its pages, and Redis going away.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on is to panic")]

mod changes;
mod data;
mod draw;
mod input;
mod ledger;
mod limits;
mod outage;
mod pages;
mod stream;
mod support;
