//! The closed table: which way each command goes. What it does not know runs alone.

/// Which way a command goes; [`Cmd`](crate::Cmd) documents the ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// By one of the link's fast calls.
    Hot(Hot),
    /// As it is.
    Direct,
    /// Inside the script that puts a constant before its reply.
    Wrapped,
    /// Behind a key that does not exist, so that nil comes first.
    Led,
    /// On a connection of its own.
    Alone,
    /// The same, on one that nobody uses after it: what it does to a connection is not known.
    Unknown,
    /// Not at all, for this reason.
    Refused(&'static str),
}

/// The commands that a link may have a faster call for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hot {
    Get,
    Set,
    Del,
    Unlink,
    Exists,
    Incr,
    IncrBy,
    Decr,
    PExpire,
    PTtl,
    HGet,
    HSet,
    HDel,
    HIncrBy,
    SAdd,
    SRem,
    SIsMember,
    ZScore,
    LPush,
    RPush,
}

#[inline]
pub(crate) fn route(name: &str) -> Route {
    // Known to the compiler at most call sites.
    match name {
        "GET" => Route::Hot(H::Get),
        "SET" => Route::Hot(H::Set),
        name => look_up(name),
    }
}

/// Whether a command of this name can be kept out of the pipeline.
pub(crate) fn can_go_apart(name: &str) -> bool {
    name == "EXEC" || matches!(route(name), Route::Hot(_) | Direct | Wrapped | Led)
}

fn look_up(name: &str) -> Route {
    match TABLE.binary_search_by(|(known, _)| (*known).cmp(name)) {
        Ok(position) => TABLE[position].1,
        Err(_) => Route::Unknown,
    }
}

const STATE: &str = "it changes the state of a shared connection";
const SUBSCRIBE: &str = "subscriptions have connections of their own";
const TRANSACTION: &str = "use `Redis::transaction`";
const SCRIPT: &str = "use `Script`";

use Hot as H;
use Route::{Alone, Direct, Led, Refused, Wrapped};

/// Sorted by name. `Direct` is only what can't answer with a flat array or push-like frame that begins with data.
const TABLE: &[(&str, Route)] = &[
    ("ACL GETUSER", Direct),
    ("ACL WHOAMI", Direct),
    ("APPEND", Direct),
    ("ASKING", Refused(STATE)),
    ("AUTH", Refused(STATE)),
    ("BITCOUNT", Direct),
    ("BITFIELD", Direct),
    ("BITFIELD_RO", Direct),
    ("BITOP", Direct),
    ("BITPOS", Direct),
    ("BLMOVE", Alone),
    ("BLMPOP", Alone),
    ("BLPOP", Alone),
    ("BRPOP", Alone),
    ("BRPOPLPUSH", Alone),
    ("BZMPOP", Alone),
    ("BZPOPMAX", Alone),
    ("BZPOPMIN", Alone),
    ("CLIENT GETNAME", Direct),
    ("CLIENT ID", Direct),
    ("CLIENT INFO", Direct),
    ("CLIENT KILL", Direct),
    ("CLIENT LIST", Direct),
    ("CLIENT PAUSE", Direct),
    ("CLIENT REPLY", Refused(STATE)),
    ("CLIENT SETNAME", Refused(STATE)),
    ("CLIENT TRACKING", Refused(STATE)),
    ("CLIENT UNBLOCK", Direct),
    ("CLIENT UNPAUSE", Direct),
    ("CLUSTER INFO", Direct),
    ("CLUSTER KEYSLOT", Direct),
    ("CLUSTER MYID", Direct),
    ("CLUSTER NODES", Direct),
    ("CLUSTER SHARDS", Direct),
    ("CLUSTER SLOTS", Direct),
    ("CONFIG GET", Direct),
    ("CONFIG RESETSTAT", Direct),
    ("CONFIG SET", Direct),
    ("COPY", Direct),
    ("DBSIZE", Direct),
    ("DECR", Route::Hot(H::Decr)),
    ("DECRBY", Direct),
    ("DEL", Route::Hot(H::Del)),
    ("DISCARD", Refused(TRANSACTION)),
    ("DUMP", Direct),
    ("ECHO", Direct),
    ("EVAL", Refused(SCRIPT)),
    ("EVALSHA", Refused(SCRIPT)),
    ("EVALSHA_RO", Refused(SCRIPT)),
    ("EVAL_RO", Refused(SCRIPT)),
    ("EXEC", Refused(TRANSACTION)),
    ("EXISTS", Route::Hot(H::Exists)),
    ("EXPIRE", Direct),
    ("EXPIREAT", Direct),
    ("EXPIRETIME", Direct),
    ("FLUSHALL", Direct),
    ("FLUSHDB", Direct),
    ("GEOADD", Direct),
    ("GEODIST", Direct),
    ("GEOHASH", Wrapped),
    ("GEOPOS", Direct),
    ("GEOSEARCH", Wrapped),
    ("GEOSEARCHSTORE", Direct),
    ("GET", Route::Hot(H::Get)),
    ("GETBIT", Direct),
    ("GETDEL", Direct),
    ("GETEX", Direct),
    ("GETRANGE", Direct),
    ("GETSET", Direct),
    ("HDEL", Route::Hot(H::HDel)),
    ("HELLO", Refused(STATE)),
    ("HEXISTS", Direct),
    ("HGET", Route::Hot(H::HGet)),
    ("HGETALL", Direct),
    ("HGETDEL", Wrapped),
    ("HGETEX", Wrapped),
    ("HINCRBY", Route::Hot(H::HIncrBy)),
    ("HINCRBYFLOAT", Direct),
    ("HKEYS", Wrapped),
    ("HLEN", Direct),
    ("HMGET", Wrapped),
    ("HPEXPIRE", Direct),
    ("HPTTL", Direct),
    ("HRANDFIELD", Wrapped),
    ("HSCAN", Direct),
    ("HSET", Route::Hot(H::HSet)),
    ("HSETNX", Direct),
    ("HSTRLEN", Direct),
    ("HVALS", Wrapped),
    ("INCR", Route::Hot(H::Incr)),
    ("INCRBY", Route::Hot(H::IncrBy)),
    ("INCRBYFLOAT", Direct),
    ("INFO", Direct),
    ("LASTSAVE", Direct),
    ("LCS", Direct),
    ("LINDEX", Direct),
    ("LINSERT", Direct),
    ("LLEN", Direct),
    ("LMOVE", Direct),
    ("LMPOP", Wrapped),
    ("LPOP", Wrapped),
    ("LPOS", Direct),
    ("LPUSH", Route::Hot(H::LPush)),
    ("LPUSHX", Direct),
    ("LRANGE", Wrapped),
    ("LREM", Direct),
    ("LSET", Direct),
    ("LTRIM", Direct),
    ("MEMORY USAGE", Direct),
    ("MGET", Led),
    ("MONITOR", Refused(STATE)),
    ("MSET", Direct),
    ("MSETNX", Direct),
    ("MULTI", Refused(TRANSACTION)),
    ("OBJECT ENCODING", Direct),
    ("OBJECT FREQ", Direct),
    ("OBJECT IDLETIME", Direct),
    ("PERSIST", Direct),
    ("PEXPIRE", Route::Hot(H::PExpire)),
    ("PEXPIREAT", Direct),
    ("PEXPIRETIME", Direct),
    ("PFADD", Direct),
    ("PFCOUNT", Direct),
    ("PFMERGE", Direct),
    ("PING", Direct),
    ("PSETEX", Direct),
    ("PSUBSCRIBE", Refused(SUBSCRIBE)),
    ("PSYNC", Refused(STATE)),
    ("PTTL", Route::Hot(H::PTtl)),
    ("PUBLISH", Direct),
    ("PUNSUBSCRIBE", Refused(SUBSCRIBE)),
    ("QUIT", Refused("use `Redis::close`")),
    ("READONLY", Refused(STATE)),
    ("READWRITE", Refused(STATE)),
    ("RENAME", Direct),
    ("RENAMENX", Direct),
    ("RESET", Refused(STATE)),
    ("RESTORE", Direct),
    ("ROLE", Direct),
    ("RPOP", Wrapped),
    ("RPUSH", Route::Hot(H::RPush)),
    ("RPUSHX", Direct),
    ("SADD", Route::Hot(H::SAdd)),
    ("SCAN", Direct),
    ("SCARD", Direct),
    ("SCRIPT EXISTS", Direct),
    ("SCRIPT FLUSH", Direct),
    ("SCRIPT KILL", Direct),
    ("SCRIPT LOAD", Direct),
    ("SDIFF", Wrapped),
    ("SDIFFSTORE", Direct),
    ("SELECT", Refused("give the database in the URL or to the builder")),
    ("SET", Route::Hot(H::Set)),
    ("SETBIT", Direct),
    ("SETEX", Direct),
    ("SETNX", Direct),
    ("SETRANGE", Direct),
    ("SINTER", Wrapped),
    ("SINTERCARD", Direct),
    ("SINTERSTORE", Direct),
    ("SISMEMBER", Route::Hot(H::SIsMember)),
    ("SMEMBERS", Wrapped),
    ("SMISMEMBER", Direct),
    ("SMOVE", Direct),
    ("SORT", Wrapped),
    ("SORT_RO", Wrapped),
    ("SPOP", Wrapped),
    ("SPUBLISH", Direct),
    ("SRANDMEMBER", Wrapped),
    ("SREM", Route::Hot(H::SRem)),
    ("SSCAN", Direct),
    ("SSUBSCRIBE", Refused(SUBSCRIBE)),
    ("STRLEN", Direct),
    ("SUBSCRIBE", Refused(SUBSCRIBE)),
    ("SUNION", Wrapped),
    ("SUNIONSTORE", Direct),
    ("SUNSUBSCRIBE", Refused(SUBSCRIBE)),
    ("SYNC", Refused(STATE)),
    ("TIME", Direct),
    ("TOUCH", Direct),
    ("TTL", Direct),
    ("TYPE", Direct),
    ("UNLINK", Route::Hot(H::Unlink)),
    ("UNSUBSCRIBE", Refused(SUBSCRIBE)),
    ("UNWATCH", Refused(TRANSACTION)),
    ("WATCH", Refused(TRANSACTION)),
    ("XACK", Direct),
    ("XADD", Direct),
    ("XAUTOCLAIM", Direct),
    ("XCLAIM", Direct),
    ("XDEL", Direct),
    ("XGROUP CREATE", Direct),
    ("XGROUP CREATECONSUMER", Direct),
    ("XGROUP DELCONSUMER", Direct),
    ("XGROUP DESTROY", Direct),
    ("XGROUP SETID", Direct),
    ("XINFO CONSUMERS", Direct),
    ("XINFO GROUPS", Direct),
    ("XINFO STREAM", Direct),
    ("XLEN", Direct),
    ("XPENDING", Direct),
    ("XRANGE", Direct),
    ("XREAD", Alone),
    ("XREADGROUP", Alone),
    ("XREVRANGE", Direct),
    ("XSETID", Direct),
    ("XTRIM", Direct),
    ("ZADD", Direct),
    ("ZCARD", Direct),
    ("ZCOUNT", Direct),
    ("ZDIFF", Wrapped),
    ("ZDIFFSTORE", Direct),
    ("ZINCRBY", Direct),
    ("ZINTER", Wrapped),
    ("ZINTERCARD", Direct),
    ("ZINTERSTORE", Direct),
    ("ZLEXCOUNT", Direct),
    ("ZMPOP", Wrapped),
    ("ZMSCORE", Direct),
    ("ZPOPMAX", Wrapped),
    ("ZPOPMIN", Wrapped),
    ("ZRANDMEMBER", Wrapped),
    ("ZRANGE", Wrapped),
    ("ZRANGEBYLEX", Wrapped),
    ("ZRANGEBYSCORE", Wrapped),
    ("ZRANGESTORE", Direct),
    ("ZRANK", Direct),
    ("ZREM", Direct),
    ("ZREMRANGEBYLEX", Direct),
    ("ZREMRANGEBYRANK", Direct),
    ("ZREMRANGEBYSCORE", Direct),
    ("ZREVRANGE", Wrapped),
    ("ZREVRANGEBYLEX", Wrapped),
    ("ZREVRANGEBYSCORE", Wrapped),
    ("ZREVRANK", Direct),
    ("ZSCAN", Direct),
    ("ZSCORE", Route::Hot(H::ZScore)),
    ("ZUNION", Wrapped),
    ("ZUNIONSTORE", Direct),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} comes before {}", pair[0].0, pair[1].0);
        }
    }

    #[test]
    fn what_the_table_does_not_know_runs_alone() {
        assert_eq!(route("JSON.GET"), Route::Unknown);
        assert_eq!(route("get"), Route::Unknown);
        assert_eq!(route("GET"), Route::Hot(Hot::Get));
        for name in ["GET", "SET"] {
            assert_eq!(route(name), look_up(name));
        }
    }
}
