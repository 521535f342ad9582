//! core-conn
#[cfg(not(feature = "fred"))]
compile_error!("choose a link: the feature `fred` (on by default)");

mod address;
mod backoff;
mod builder;
mod close;
mod cmd;
mod codec;
mod error;
mod event;
mod flight;
mod keyspace;
mod layout;
mod link;
mod metrics;
mod node;
mod redis;
mod script;
mod table;
mod value;

pub use self::backoff::Backoff;
pub use self::builder::RedisBuilder;
pub use self::close::CloseReport;
pub use self::cmd::{Class, Cmd, IntoArg};
pub use self::codec::{Codec, CodecBuilder, CodecError, Compression, Format};
pub use self::error::{Error, ErrorKind, SendOutcome, ServerError};
pub use self::event::{Event, EventKind, Events, Notice, ReadyCheck};
pub use self::keyspace::{
    InPartition, Key, KeyError, KeySpace, LAYOUT_VERSION, Part, Partition, Segment, Segments,
};
pub use self::redis::Redis;
pub use self::script::{Script, ScriptCall};
pub use self::value::{FromValue, Value};
