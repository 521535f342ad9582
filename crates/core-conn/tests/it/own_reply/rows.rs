//! The commands that answer with an array, and the data that they find.

use russet_core_conn::{Cmd, Key};

/// With what fred takes a reply for pub/sub.
pub(super) const WORDS: [&str; 8] = [
    "message",
    "smessage",
    "pmessage",
    "subscribe",
    "unsubscribe",
    "psubscribe",
    "punsubscribe",
    "sunsubscribe",
];

/// A command line. `{l}`, `{h}`, … are keys with the words in a list, a hash, …; `{e}` are all words, `{e0}` the first,
/// `{n}` their number. Marks: `%` for any order, `~` for what differs from one moment to the next.
pub(super) const ROWS: &[&str] = &[
    "LRANGE {l} 0 -1",
    "LPOP {l} {n}",
    "RPOP {l} {n}",
    "LPOS {l} {e0} COUNT 0",
    "LMPOP 1 {l} LEFT COUNT {n}",
    "SORT {l} BY nosort",
    "SORT {l} ALPHA DESC",
    "SORT {l} BY nosort GET # GET #",
    "SORT_RO {l} BY nosort",
    "BLPOP {l} 1",
    "BRPOP {l} 1",
    "BLMPOP 1 1 {l} LEFT COUNT {n}",
    "HGETALL {h}",
    "HKEYS {h}",
    "HVALS {h}",
    "HMGET {h} {e}",
    "HRANDFIELD {h} {n}",
    "HRANDFIELD {h} {n} WITHVALUES",
    "HSCAN {h} 0",
    "HGETDEL {h} FIELDS {n} {e}",
    "HGETEX {h} FIELDS {n} {e}",
    "HPEXPIRE {h} 100000 FIELDS {n} {e}",
    "HPTTL {h} FIELDS {n} {e}",
    "%SMEMBERS {s}",
    "%SPOP {s} {n}",
    "%SRANDMEMBER {s} {n}",
    "%SDIFF {s} {0}",
    "%SINTER {s} {t}",
    "%SUNION {s} {t}",
    "SMISMEMBER {s} {e}",
    "%SSCAN {s} 0",
    "ZRANGE {z} 0 -1",
    "ZRANGE {z} 0 -1 WITHSCORES",
    "ZRANGEBYSCORE {z} -inf +inf",
    "ZRANGEBYSCORE {z} -inf +inf WITHSCORES",
    "ZRANGEBYLEX {w} - +",
    "ZREVRANGE {z} 0 -1",
    "ZREVRANGEBYSCORE {z} +inf -inf",
    "ZREVRANGEBYLEX {w} + -",
    "ZDIFF 2 {z} {0}",
    "ZINTER 2 {z} {y}",
    "ZUNION 2 {z} {y}",
    "ZUNION 2 {z} {y} WITHSCORES",
    "ZPOPMIN {z} {n}",
    "ZPOPMAX {z} {n}",
    "ZMPOP 1 {z} MIN COUNT {n}",
    "%ZRANDMEMBER {z} {n}",
    "ZMSCORE {z} {e}",
    "ZSCAN {z} 0",
    "ZRANK {z} {e0} WITHSCORE",
    "ZREVRANK {z} {e0} WITHSCORE",
    "BZPOPMIN {z} 1",
    "BZPOPMAX {z} 1",
    "BZMPOP 1 1 {z} MIN COUNT {n}",
    "XRANGE {x} - +",
    "XREVRANGE {x} + -",
    "XREAD STREAMS {x} 0",
    "XREADGROUP GROUP {e0} {e0} STREAMS {x} >",
    "XREADGROUP GROUP {e0} {e0} STREAMS {x} 0",
    "XAUTOCLAIM {x} {e0} {e0} 0 0",
    "XAUTOCLAIM {x} {e0} {e0} 0 0 JUSTID",
    "XCLAIM {x} {e0} {e0} 0 1-1 2-1",
    "XCLAIM {x} {e0} {e0} 0 1-1 2-1 JUSTID",
    "XPENDING {x} {e0}",
    "~XPENDING {x} {e0} - + 10",
    "~XINFO CONSUMERS {x} {e0}",
    "XINFO GROUPS {x}",
    "XINFO STREAM {x}",
    "~XINFO STREAM {x} FULL",
    "GEOSEARCH {g} FROMLONLAT 0 0 BYRADIUS 1000 km ASC",
    "GEOHASH {g} {e}",
    "GEOPOS {g} {e}",
    "GEORADIUS_RO {g} 0 0 1000 km ASC",
    "MGET {k}",
    "LCS {k0} {k0} IDX",
    "%KEYS {k*}",
    "%SCAN 0 MATCH {k*} COUNT 100000",
    "COMMAND GETKEYS DEL {k}",
    "%PUBSUB CHANNELS",
    "BITFIELD {0} GET u8 0 GET u8 8 GET u8 16",
    "BITFIELD_RO {0} GET u8 0 GET u8 8 GET u8 16",
    "SCRIPT EXISTS {e}",
    "CONFIG GET maxmemory*",
    "%ACL GETUSER default",
    "CLUSTER SHARDS",
    "CLUSTER SLOTS",
    "ROLE",
    "~TIME",
];

/// The rows of the table whose replies are never arrays.
pub(super) const SCALAR: &str = "
    ACL WHOAMI|APPEND|BITCOUNT|BITOP|BITPOS|BLMOVE|BRPOPLPUSH|CLIENT GETNAME|CLIENT ID|CLIENT INFO|CLIENT KILL|
    CLIENT LIST|CLIENT PAUSE|CLIENT UNBLOCK|CLIENT UNPAUSE|CLUSTER INFO|CLUSTER KEYSLOT|CLUSTER MYID|CLUSTER NODES|
    CONFIG RESETSTAT|CONFIG SET|COPY|DBSIZE|DECR|DECRBY|DEL|DUMP|ECHO|EXISTS|EXPIRE|EXPIREAT|EXPIRETIME|FLUSHALL|
    FLUSHDB|GEOADD|GEODIST|GEOSEARCHSTORE|GET|GETBIT|GETDEL|GETEX|GETRANGE|GETSET|HDEL|HEXISTS|HGET|HINCRBY|
    HINCRBYFLOAT|HLEN|HSET|HSETNX|HSTRLEN|INCR|INCRBY|INCRBYFLOAT|INFO|LASTSAVE|LINDEX|LINSERT|LLEN|LMOVE|LPUSH|
    LPUSHX|LREM|LSET|LTRIM|MEMORY USAGE|MSET|MSETNX|OBJECT ENCODING|OBJECT FREQ|OBJECT IDLETIME|PERSIST|PEXPIRE|
    PEXPIREAT|PEXPIRETIME|PFADD|PFCOUNT|PFMERGE|PING|PSETEX|PTTL|PUBLISH|RENAME|RENAMENX|RESTORE|RPUSH|RPUSHX|SADD|
    SCARD|SCRIPT FLUSH|SCRIPT KILL|SCRIPT LOAD|SDIFFSTORE|SET|SETBIT|SETEX|SETNX|SETRANGE|SINTERCARD|SINTERSTORE|
    SISMEMBER|SMOVE|SPUBLISH|SREM|STRLEN|SUNIONSTORE|TOUCH|TTL|TYPE|UNLINK|XACK|XADD|XDEL|XGROUP CREATE|
    XGROUP CREATECONSUMER|XGROUP DELCONSUMER|XGROUP DESTROY|XGROUP SETID|XLEN|XSETID|XTRIM|ZADD|ZCARD|ZCOUNT|
    ZDIFFSTORE|ZINCRBY|ZINTERCARD|ZINTERSTORE|ZLEXCOUNT|ZRANGESTORE|ZREM|ZREMRANGEBYLEX|ZREMRANGEBYRANK|
    ZREMRANGEBYSCORE|ZSCORE|ZUNIONSTORE";

/// The rows of the table, with the way that each goes; those that are refused are left out.
pub(super) fn table() -> Vec<(&'static str, &'static str)> {
    include_str!("../../../src/table.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("    (\"")?.strip_suffix("),")?.split_once("\", "))
        .filter(|(_, way)| !way.starts_with("Refused"))
        .collect()
}

/// One row, with these words.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) name: &'static str,
    pub(super) mark: Option<char>,
    /// Each with whether it is a key.
    args: Vec<(String, bool)>,
    /// The token that says which data it needs.
    data: Option<char>,
    words: &'a [&'a str],
}

impl<'a> Row<'a> {
    pub(super) fn new(line: &'static str, words: &'a [&'a str]) -> Self {
        let mark = line.chars().next().filter(|mark| "%~".contains(*mark));
        let line = line.trim_start_matches(['%', '~']);
        let long = ["ACL", "CLUSTER", "CONFIG", "SCRIPT", "XINFO", "COMMAND", "PUBSUB"];
        let first = line.split(' ').next().unwrap();
        let second = line.split(' ').nth(1).filter(|_| long.contains(&first));
        let name = &line[..first.len() + second.map_or(0, |word| word.len() + 1)];
        let mut data = (name == "PUBSUB CHANNELS").then_some('p');
        let mut args = Vec::new();
        for token in line[name.len()..].split_whitespace() {
            let first = words[0];
            match token.strip_prefix('{').and_then(|token| token.strip_suffix('}')) {
                None => args.push((token.to_owned(), false)),
                Some("e") => args.extend(words.iter().map(|word| ((*word).to_owned(), false))),
                Some("e0") => args.push((first.to_owned(), false)),
                Some("n") => args.push((words.len().to_string(), false)),
                Some("0") => args.push(("nothing".to_owned(), true)),
                Some("t" | "y") => args.push((format!("2{first}"), true)),
                Some(token) => {
                    data = token.chars().next();
                    match token {
                        "k" => args.extend(words.iter().map(|word| ((*word).to_owned(), true))),
                        // All words end so, and nothing else that is stored.
                        "k*" => args.push(("*[be]".to_owned(), false)),
                        _ => args.push((first.to_owned(), true)),
                    }
                }
            }
        }
        Self { name, mark, args, data, words }
    }

    pub(super) fn cmd(&self) -> Cmd {
        self.args.iter().fold(Cmd::write(self.name), |cmd, (arg, is_key)| match is_key {
            true => cmd.key(&Key::raw(arg.clone())),
            false => cmd.arg(arg),
        })
    }

    pub(super) fn line(&self) -> Vec<String> {
        let name = self.name.split(' ').map(str::to_owned);
        name.chain(self.args.iter().map(|(arg, _)| arg.clone())).collect()
    }

    /// What stores the data that it reads.
    pub(super) fn fill(&self) -> Vec<Vec<String>> {
        fill(self.data, self.words)
    }
}

/// What removes all that was there and stores the words in one shape.
pub(super) fn fill(data: Option<char>, words: &[&str]) -> Vec<Vec<String>> {
    let first = words[0];
    let line = |start: &[&str], item: &dyn Fn(usize, &str) -> Vec<String>| -> Vec<String> {
        let items = words.iter().enumerate().flat_map(|(at, word)| item(at, word));
        start.iter().map(|part| (*part).to_owned()).chain(items).collect()
    };
    let alone = |_: usize, word: &str| vec![word.to_owned()];
    let twice = |_: usize, word: &str| vec![word.to_owned(), word.to_owned()];
    let scored = |at: usize, word: &str| vec![at.to_string(), word.to_owned()];
    let second = format!("2{first}");
    let parts = |line: &[&str]| line.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
    // Also what other words have left: a command that is lost may have been applied here and not where the judge reads.
    let mut gone = parts(&["DEL", "nothing"]);
    gone.extend(
        WORDS.iter().chain(words).flat_map(|word| [(*word).to_owned(), format!("2{word}")]),
    );
    let mut lines = vec![gone];
    match data {
        Some('l') => lines.push(line(&["RPUSH", first], &alone)),
        Some('h') => lines.push(line(&["HSET", first], &twice)),
        Some('s') => {
            lines.extend([line(&["SADD", first], &alone), line(&["SADD", &second], &alone)]);
        }
        Some('z') => {
            lines.extend([line(&["ZADD", first], &scored), line(&["ZADD", &second], &scored)]);
        }
        Some('w') => {
            lines.push(line(&["ZADD", first], &|_, word| vec!["0".into(), word.to_owned()]));
        }
        Some('g') => lines.push(line(&["GEOADD", first], &|at, word| {
            vec![format!("0.{at}1"), "0".into(), word.to_owned()]
        })),
        Some('k') => lines.push(line(&["MSET"], &twice)),
        Some('x') => lines.extend([
            line(&["XADD", first, "1-1"], &twice),
            line(&["XADD", first, "2-1"], &twice),
            parts(&["XGROUP", "CREATE", first, first, "0"]),
            parts(&["XREADGROUP", "GROUP", first, first, "STREAMS", first, ">"]),
            line(&["XADD", first, "3-1"], &twice),
        ]),
        _ => {}
    }
    lines
}
