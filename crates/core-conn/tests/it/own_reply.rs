//! Nobody gets another's reply, whatever words are stored as data.

// About fred without the wall.
#[cfg(feature = "fred")]
mod bare;
mod plain;
mod rows;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use russet_core_conn::{Cmd, Key, Redis, Script, SendOutcome, ServerError, Value};
use russet_testkit::shared::Topology;
use russet_testkit::{Conn, Reply, Server, contract};
use tokio::sync::watch;

use self::plain::{looks_like_pubsub, plain, plain_reply};
use self::rows::{ROWS, Row, SCALAR, WORDS, fill, table};
use crate::support::{key, over_fred, patient, record, shared};

/// Who reads their own keys meanwhile.
const NEIGHBOURS: u64 = 64;

#[test]
fn every_row_of_the_table_that_can_answer_with_an_array_is_read_here() {
    let words = WORDS;
    let read: Vec<_> = ROWS.iter().map(|line| Row::new(line, &words).name).collect();
    let scalar: Vec<_> = SCALAR.split('|').map(str::trim).collect();
    assert!(table().len() > 200);
    for (name, _) in table() {
        let known = read.contains(&name) || scalar.contains(&name);
        assert!(known, "{name}: add it to ROWS, or to SCALAR if it never answers with an array");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_of_pubsub_are_data() {
    let mut variants = Vec::new();
    for (at, word) in WORDS.iter().enumerate() {
        let first = if at % 3 == 2 { vec!["pubsub"] } else { vec![] };
        variants.push([first, words(word, 3 + at % 2)].concat());
    }
    check(&variants, 2, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_own_reply() {
    let mut variants = Vec::new();
    for word in WORDS {
        variants.extend((1..=5).map(|n| words(word, n)));
        variants.extend((1..=4).map(|n| [vec!["pubsub"], words(word, n)].concat()));
    }
    let met = check(&variants, variants.len(), 2).await;
    record(
        "own_reply",
        &met.server,
        &[
            ("variants", variants.len() as u64),
            ("neighbours", NEIGHBOURS),
            ("arrays_read", met.read),
            ("own_replies_read", met.own),
            ("foreign", 0),
        ],
        &[("words_planted", met.planted), ("lost_alone", met.lost)],
    );
}

contract!(threads, in_a_batch_each_command_has_its_own_reply);
/// What may be repeated travels in batches: one that fails among them does not shift the others.
async fn in_a_batch_each_command_has_its_own_reply(at: Topology) {
    let (redis, prefix) = shared(at, "batch").await;
    // Each in a partition of its own: on a cluster the batch is split.
    let name = |n: usize| key(&prefix.replace(":0}", &format!(":{n}}}")), "k");
    let sets = (0..300).map(|n| Cmd::idempotent("SET").key(&name(n)).arg(n as u64));
    assert!(redis.pipeline(sets).await.into_iter().all(|set| set.is_ok()));
    let reads = || {
        (0..300).map(|n| match n % 3 {
            0 => Cmd::read("GET").key(&name(n)),
            1 => Cmd::read("HGETALL").key(&name(n)),
            _ => Cmd::read("GETRANGE").key(&name(n)).arg(0).arg(-1),
        })
    };
    let (one, other) = tokio::join!(redis.pipeline(reads()), redis.pipeline(reads()));
    for (n, read) in one.into_iter().enumerate().chain(other.into_iter().enumerate()) {
        match read {
            Ok(value) => assert_eq!(plain(&value, None), format!("\"{n}\"")),
            Err(error) => {
                assert_eq!((n % 3, error.server()), (1, Some(&ServerError::WrongType)), "{error}");
                assert_eq!(error.outcome(), SendOutcome::Rejected);
            }
        }
    }
}

/// The word and those after it.
fn words(word: &'static str, n: usize) -> Vec<&'static str> {
    let at = WORDS.iter().position(|known| *known == word).unwrap();
    WORDS.iter().cycle().skip(at).take(n).copied().collect()
}

#[derive(Debug, Default)]
struct Met {
    server: String,
    /// Arrays read, each compared with what an independent client reads of the same data.
    read: u64,
    /// Of these, how many looked like pub/sub as they would have come without the wall.
    planted: u64,
    /// Of these, how many were lost on a connection of their own, and said so.
    lost: u64,
    /// What the neighbours read of their own.
    own: u64,
}

/// Reads every row with each of the variants. Commands that go alone are read with the first `alone` of them only: one
/// that is lost costs its deadline.
async fn check(variants: &[Vec<&'static str>], alone: usize, rounds: usize) -> Met {
    // Its own server: the keys have the words for names. The judge reads the same in another database.
    let server = Server::start().await.unwrap();
    let redis = patient(&server.url()).build().unwrap();
    let mut reader = Reader {
        hasty: redis.with_deadline(Duration::from_millis(150)),
        redis: redis.clone(),
        filler: server.conn().await.unwrap(),
        resp2: judge(&server, "2").await,
        resp3: judge(&server, "3").await,
        address: server.addr(),
        turn: watch::Sender::new(0),
        met: Met { server: server.version().to_string(), ..Met::default() },
    };
    let own = Arc::new(AtomicU64::new(0));
    let neighbours: Vec<_> = (0..NEIGHBOURS)
        .map(|n| tokio::spawn(neighbour(redis.clone(), n, reader.turn.subscribe(), own.clone())))
        .collect();
    for round in 0..rounds {
        for (at, words) in variants.iter().enumerate() {
            reader.rows(words, round == 0 && at < alone).await;
            reader.scripts(words).await;
            reader.transactions(words).await;
        }
    }
    let mut met = reader.end();
    for neighbour in neighbours {
        neighbour.await.unwrap();
    }
    met.own = own.load(Relaxed);
    // The one connection has served all of them, beside those of the commands that go alone.
    let mut conn = server.conn().await.unwrap();
    let clients = conn.call(&["CLIENT", "LIST"]).await.unwrap();
    let clients = clients.text().unwrap().lines().count();
    assert_eq!(clients, 2, "the one connection of the handle, and this one");
    // fred loses what looks like pub/sub where it goes alone; redis-rs loses nothing.
    let loses = over_fred();
    assert!(met.planted * 8 > met.read && (met.lost > 0) == loses, "{met:?}");
    assert!(met.own > met.read * NEIGHBOURS / 4, "{met:?}");
    met
}

async fn judge(server: &Server, protocol: &str) -> Conn {
    let mut conn = server.conn().await.unwrap();
    conn.call(&["HELLO", protocol]).await.unwrap();
    conn.call(&["SELECT", "1"]).await.unwrap();
    conn
}

/// Reads what nobody else has, once for each row that is read: every reply must be its own.
async fn neighbour(redis: Redis, n: u64, mut rows: watch::Receiver<u64>, own: Arc<AtomicU64>) {
    let echo = Script::new("own", "return {ARGV[1], {KEYS[1]}}");
    let key = |kind: &str| Key::raw(format!("own:{kind}:{n}"));
    let mine = format!("mine-{n}");
    let word = WORDS[n as usize % WORDS.len()];
    let list = vec![word.to_owned(), mine.clone(), "x".to_owned()];
    let () = redis.run(Cmd::write("SET").key(&key("s")).arg(&mine)).await.unwrap();
    let () = redis.run(Cmd::write("RPUSH").key(&key("l")).args(list.clone())).await.unwrap();
    let () = redis.run(Cmd::write("HSET").key(&key("h")).arg(word).arg(&mine)).await.unwrap();
    while rows.changed().await.is_ok() {
        let row = *rows.borrow_and_update();
        let read: String = match (row + n) % 4 {
            0 => redis.run(Cmd::read("GET").key(&key("s"))).await.unwrap(),
            1 => redis.run(Cmd::read("HGET").key(&key("h")).arg(word)).await.unwrap(),
            2 => {
                let range = Cmd::read("LRANGE").key(&key("l")).arg(0).arg(-1);
                let read: Vec<String> = redis.run(range).await.unwrap();
                assert_eq!(read, list);
                continue;
            }
            _ => {
                let (read, _): (String, Vec<String>) =
                    redis.script(echo.key(&key("s")).arg(&mine)).await.unwrap();
                read
            }
        };
        assert_eq!(read, mine);
        own.fetch_add(1, Relaxed);
    }
}

struct Reader {
    redis: Redis,
    hasty: Redis,
    filler: Conn,
    resp2: Conn,
    resp3: Conn,
    address: SocketAddr,
    /// The neighbours' sign to read, too.
    turn: watch::Sender<u64>,
    met: Met,
}

impl Reader {
    async fn rows(&mut self, words: &[&'static str], alone: bool) {
        for line in ROWS {
            let row = Row::new(line, words);
            let table = table();
            let way = table.iter().find(|(name, _)| *name == row.name).map_or("Alone", |row| row.1);
            if way == "Alone" && !alone {
                continue;
            }
            let mut channels = None;
            if row.name == "PUBSUB CHANNELS" {
                let mut subscriber = Conn::tcp(self.address).await.unwrap();
                for word in words {
                    subscriber.call(&["SUBSCRIBE", word]).await.unwrap();
                }
                channels = Some(subscriber);
            }
            self.prepare(&row.fill()).await;
            let judge = if way == "Wrapped" { &mut self.resp2 } else { &mut self.resp3 };
            let right = judge.call(&row.line()).await.unwrap();
            let raw = looks_like_pubsub(&right, row.mark);
            self.count(raw);
            let lossy = way == "Alone" && raw;
            let redis = if lossy { &self.hasty } else { &self.redis };
            match (redis.run::<Value>(row.cmd()).await, &right) {
                (Ok(read), right) => {
                    assert_eq!(plain(&read, row.mark), plain_reply(right, row.mark), "{row:?}");
                }
                (Err(error), Reply::Error(_)) => {
                    assert_eq!(error.outcome(), SendOutcome::Rejected, "{row:?}: {error}");
                }
                (Err(error), _) => {
                    assert!(lossy, "{row:?}: {error}");
                    assert_eq!(error.outcome(), SendOutcome::Unknown, "{row:?}: {error}");
                    self.met.lost += 1;
                }
            }
            drop(channels);
        }
    }

    /// Replies of scripts, as long as there are words.
    async fn scripts(&mut self, words: &[&'static str]) {
        self.prepare(&fill(Some('l'), words)).await;
        let key = Key::raw(words[0]);
        for (text, nested) in [
            ("return ARGV", false),
            ("return redis.call('LRANGE', KEYS[1], 0, -1)", false),
            ("return {ARGV, ARGV}", true),
            (
                "#!lua flags=no-writes\nlocal t = {} for i, v in ipairs(ARGV) do t[i] = v end return t",
                false,
            ),
        ] {
            let script = Script::new("words", text);
            self.count((3..=5).contains(&words.len()) && !nested);
            let read: Value =
                self.redis.script(script.key(&key).args(words.to_vec())).await.unwrap();
            let right =
                if nested { format!("[{words:?}, {words:?}]") } else { format!("{words:?}") };
            assert_eq!(plain(&read, None), right, "{text}");
        }
    }

    /// `EXEC` of as many commands as there are words, and of one that answers with all of them.
    async fn transactions(&mut self, words: &[&'static str]) {
        self.prepare(&fill(Some('k'), words)).await;
        let gets = || words.iter().map(|word| Cmd::read("GET").key(&Key::raw(*word)));
        self.count((3..=5).contains(&words.len()));
        let read = Value::Array(self.redis.transaction(gets()).await.unwrap());
        assert_eq!(plain(&read, None), format!("{words:?}"));

        self.prepare(&fill(Some('l'), words)).await;
        let range = || Cmd::read("LRANGE").key(&Key::raw(words[0])).arg(0).arg(-1);
        let read = Value::Array(self.redis.transaction([range(), range()]).await.unwrap());
        assert_eq!(plain(&read, None), format!("[{words:?}, {words:?}]"));
        for read in self.redis.pipeline([range(), range()]).await {
            assert_eq!(plain(&read.unwrap(), None), format!("{words:?}"));
        }
    }

    /// The neighbours end with this.
    fn end(self) -> Met {
        self.met
    }

    fn count(&mut self, planted: bool) {
        self.turn.send_modify(|row| *row += 1);
        self.met.read += 1;
        self.met.planted += u64::from(planted);
    }

    async fn prepare(&mut self, lines: &[Vec<String>]) {
        for conn in [&mut self.filler, &mut self.resp2] {
            for reply in conn.pipeline(lines).await.unwrap() {
                assert!(reply.error().is_none(), "{lines:?}: {reply:?}");
            }
        }
    }
}
