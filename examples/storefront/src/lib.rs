//! A fare shop on `russet-cache` and `russet-ratelimit`: 5,366 real air routes in SQLite, a cache on Redis before it, limits
//! before its API, a load that checks every fare it is served, and a live dashboard.
//!
//! ```text
//! russet-storefront --redis redis://127.0.0.1:6379 --rate 500
//! russet-storefront --headless --seconds 30
//! ```
//!
//! # What it sells
//! A product is one departure of a route: `/api/route/SEA/LAX` is the first of the route,
//! `?departure=7` the seventh. `--scale` says how many products there are in all: one for each
//! route, the rest in proportion to the flights of 2008. [`fare`] has the formula for the fare.
//!
//! # What is cached
//! | entry | key | lives | removed by |
//! |---|---|---|---|
//! | product | origin, destination, number | 3,600 s | a change of its fare |
//! | block of a list: 20 route ids, cheapest first | airport or state, number of the block | 60 s | a change of a fare in that list |
//!
//! A page of departures is put together from blocks and from the same product entries that route
//! pages use. All keys carry the identity of the database, so that two shops with different
//! databases on one server don't read each other's fares.
//!
//! # What is promised
//! - A fare change writes the database first and the cache's removals second. If Redis is away the
//!   removal is owed: the cache repeats it, and this process reads that product from the database
//!   until it went through.
//! - There are two instances, each with its own connection and memory. After an acknowledged change
//!   the instance that made it serves the new fare, and the other one too, at most a second later.
//!   Only if the server was lost since may an old one be served for longer, and never longer than
//!   the entry's time to live. [`ledger`] judges every fare that the load gets.
//! - While Redis is away, everything is served from the database, and each instance limits by its share.
//! - The API lets each customer, address and endpoint ask for so much, all decided in one round trip and over all
//!   instances: [`limits`] has the numbers.
//! - A breaker that the instances share stands before the database's reads.
//!
//! # Order of files
//! [`app`] opens and closes everything; [`shop`] is the heart; [`shelves`] is all there is of the
//! cache, and [`limits`] all of the limits; [`origin`] is the database; [`load`], [`flood`] and [`ledger`] ask and judge;
//! [`feed`] and [`http`] show it.

pub mod app;
pub mod catalog;
pub mod connection;
pub mod fare;
pub mod feed;
pub mod flood;
pub mod headless;
pub mod http;
pub mod ledger;
pub mod limits;
pub mod load;
pub mod metrics;
pub mod origin;
pub mod shelves;
pub mod shop;
pub mod stampede;
