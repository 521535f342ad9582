//! Real Redis and Valkey servers as private processes, for tests.
mod builder;
mod conn;
mod error;
mod find;
mod frame;
mod port;
mod process;
mod proxy;
mod reply;
mod server;
pub mod shared;
#[cfg(feature = "tls")]
mod tls;
mod url;

pub use builder::{Builder, Eviction, Fsync};
pub use conn::{Conn, encode};
pub use error::{Error, Result};
pub use find::{Flavor, Version, find_server};
pub use proxy::{Counters, Fault, Match, Proxy};
pub use reply::Reply;
pub use server::Server;
pub use shared::prefix;
#[cfg(feature = "tls")]
pub use tls::{Certificates, Identity, Pem, Tls};
