use std::time::{Duration, Instant};

use russet_testkit::{Conn, Error, Match, Proxy, Server, encode, prefix, shared};

/// A proxy before the server that this process shares, and a key of the test's own.
async fn start() -> (Proxy, Conn, String) {
    let url = shared::url().await.unwrap();
    let addr = url.rsplit(['/', '@']).find(|part| part.contains(':')).unwrap().parse().unwrap();
    (Proxy::start(addr).await.unwrap(), shared::conn().await.unwrap(), prefix("proxy"))
}

async fn through(proxy: &Proxy) -> Conn {
    Conn::open(&proxy.url()).await.unwrap()
}

#[tokio::test]
async fn everything_passes_unchanged() {
    let (proxy, _, key) = start().await;
    let mut bytes = Vec::new();
    let (mut commands, mut random) = (0, 1_u32);
    for n in 0..5_000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = vec![b'\r' + u8::try_from(n % 7).unwrap(); (random >> 20) as usize % 3_000];
        for command in [
            encode(&[b"HELLO".as_slice(), if n % 2 == 0 { b"3" } else { b"2" }]),
            encode(&[b"HSET".as_slice(), key.as_bytes(), &value[..value.len().min(9)], &value]),
            encode(&[b"HGETALL".as_slice(), key.as_bytes()]),
            encode(&["EVAL", "return {1,{{},{false,'x'}},{ok='fine'}}", "0"]),
            encode(&["NO", "SUCH", "COMMAND"]),
            b"PING inline\r\n\r\n".to_vec(),
        ] {
            bytes.extend(command);
            commands += 1;
        }
    }
    bytes.extend(encode(&["QUIT"]));
    commands += 1;

    let mut outputs = Vec::new();
    for url in [shared::url().await.unwrap(), proxy.url()] {
        shared::conn().await.unwrap().call(&["DEL", &key]).await.unwrap();
        let mut conn = Conn::open(&url).await.unwrap().with_deadline(Duration::from_secs(60));
        conn.send(&bytes).await.unwrap();
        outputs.push(without_ids(&conn.rest().await.unwrap()));
    }
    assert!(outputs[0].len() > 5_000_000);
    assert!(outputs[0] == outputs[1]);
    assert_eq!(proxy.counters().all_requests(), commands);
    assert_eq!(proxy.replies(), commands);
    assert_eq!((proxy.requests("hello"), proxy.lost(), proxy.strikes()), (5_000, 0, 0));
}

/// HELLO answers with the number of the connection, and here it is not the same one twice.
fn without_ids(output: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(output.len());
    let mut lines = output.split(|byte| *byte == b'\n');
    while let Some(line) = lines.next() {
        kept.extend_from_slice(line);
        if line == b"id\r" {
            lines.next();
        }
    }
    kept
}

#[tokio::test]
async fn a_cut_before_forwards_nothing_of_it() {
    let (proxy, mut real, key) = start().await;
    let fault = proxy.cut_before(Match::name("incr").nth(3));
    let mut conn = through(&proxy).await;
    let incr = encode(&["INCR", &key]);
    conn.send(&incr.repeat(5)).await.unwrap();
    assert_eq!(conn.rest().await.unwrap(), b":1\r\n:2\r\n");
    proxy.struck().await.unwrap();
    assert_eq!(real.call(&["GET", &key]).await.unwrap().text(), Some("2"));
    let counters = proxy.counters();
    assert_eq!(
        (counters.strikes, counters.lost, counters.replies, counters.requests("INCR")),
        (1, 0, 2, 3)
    );
    // Alone on its connection, and only once.
    proxy.cut_before(Match::name("GET"));
    let mut conn = through(&proxy).await;
    assert!(matches!(conn.call(&["GET", &key]).await, Err(Error::Closed)));
    assert_eq!(through(&proxy).await.raw(&incr).await.unwrap().int(), Some(3));
    assert_eq!((fault.strikes(), proxy.strikes(), proxy.lost(), proxy.connections()), (1, 2, 0, 3));
}

#[tokio::test]
async fn a_cut_after_comes_when_the_request_was_applied() {
    let (proxy, mut real, key) = start().await;
    let fault = proxy.cut_after(Match::name("INCR").nth(3));
    let mut conn = through(&proxy).await;
    conn.send(&encode(&["INCR", &key]).repeat(5)).await.unwrap();
    assert_eq!(conn.rest().await.unwrap(), b":1\r\n:2\r\n");
    assert_eq!(real.call(&["GET", &key]).await.unwrap().text(), Some("3"));
    fault.struck().await.unwrap();
    let counters = proxy.counters();
    assert_eq!(
        (counters.strikes, counters.lost, counters.replies, counters.requests("INCR")),
        (1, 1, 2, 3)
    );
}

#[tokio::test]
async fn a_cut_in_a_reply_is_exact_to_the_byte() {
    let (proxy, mut real, key) = start().await;
    let command =
        ["EVAL", "redis.call('INCR', KEYS[1]) return {1, {'two', false}, {ok='fine'}}", "1", &key];
    let reply = b"*3\r\n:1\r\n*2\r\n$3\r\ntwo\r\n$-1\r\n+fine\r\n";
    for at in 0..=reply.len() + 1 {
        proxy.reset_counters();
        proxy.cut_in_reply(Match::name("EVAL"), at);
        let mut conn = through(&proxy).await;
        conn.send(&[encode(&["PING"]), encode(&command), encode(&["PING"])].concat())
            .await
            .unwrap();
        let cut = &reply[..at.min(reply.len())];
        assert_eq!(conn.rest().await.unwrap(), [b"+PONG\r\n", cut].concat(), "at {at}");
        let applied = real.call(&["GET", &key]).await.unwrap();
        assert_eq!(applied.text(), Some((at + 1).to_string().as_str()), "at {at}");
        let whole = u64::from(at >= reply.len());
        let counters = proxy.counters();
        assert_eq!(
            (counters.strikes, counters.lost, counters.replies),
            (1, 1 - whole, 1 + whole),
            "at {at}"
        );
    }
}

#[tokio::test]
async fn replies_can_be_corrupted() {
    let (proxy, _, _) = start().await;
    proxy.flip_bit(Match::name("PING"), 2);
    proxy.corrupt(Match::name("PING").nth(1), <[u8]>::to_ascii_lowercase);
    proxy.flip_bit(Match::name("ECHO"), 1_000);
    let mut conn = through(&proxy).await;
    assert_eq!(conn.call(&["PING"]).await.unwrap().text(), Some("PNNG"));
    assert_eq!(conn.call(&["PING"]).await.unwrap().text(), Some("pong"));
    assert_eq!(conn.call(&["PING"]).await.unwrap().text(), Some("PONG"));
    conn.send(&encode(&["ECHO", "x"])).await.unwrap();
    conn.send(&encode(&["QUIT"])).await.unwrap();
    assert_eq!(conn.rest().await.unwrap(), b"$1\r\nx\r\x0b+OK\r\n");
    assert_eq!((proxy.strikes(), proxy.lost()), (3, 0));
}

#[tokio::test]
async fn an_extra_frame_makes_a_client_slip() {
    let (proxy, _, _) = start().await;
    let mut conn = through(&proxy).await;
    let mut other = through(&proxy).await;
    conn.call(&["PING"]).await.unwrap();
    other.call(&["PING"]).await.unwrap();
    assert_eq!(proxy.inject_reply("$5\r\nalien\r\n"), 2);
    assert_eq!(conn.call(&["ECHO", "1"]).await.unwrap().text(), Some("alien"));
    assert_eq!(conn.call(&["ECHO", "2"]).await.unwrap().text(), Some("1"));
    assert_eq!(other.reply().await.unwrap().text(), Some("alien"));
    assert_eq!(proxy.strikes(), 2);

    let mut conn = through(&proxy).await;
    let fault = proxy.inject_before(Match::name("ECHO").with_arg("b"), ":666\r\n");
    conn.send(&[encode(&["ECHO", "a"]), encode(&["ECHO", "abc"]), encode(&["QUIT"])].concat())
        .await
        .unwrap();
    assert_eq!(conn.rest().await.unwrap(), b"$1\r\na\r\n:666\r\n$3\r\nabc\r\n+OK\r\n");
    assert_eq!(fault.strikes(), 1);
}

#[tokio::test]
async fn a_delay_is_latency() {
    let (proxy, _, _) = start().await;
    let mut conn = through(&proxy).await;
    let delay = Duration::from_millis(40);
    let commands: Vec<_> = (0..500).map(|n| ["ECHO".to_owned(), n.to_string()]).collect();
    for (requests, replies) in [(delay, Duration::ZERO), (Duration::ZERO, delay), (delay, delay)] {
        proxy.delay_requests(requests);
        proxy.delay_replies(replies);
        let (begun, before) = (Instant::now(), proxy.trips());
        let echoes = conn.pipeline(&commands).await.unwrap();
        assert!(begun.elapsed() >= requests + replies);
        // 500 times as much if it were a limit.
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        assert!(
            echoes
                .iter()
                .zip(&commands)
                .all(|(echo, command)| echo.text() == Some(command[1].as_str()))
        );
        if !replies.is_zero() {
            assert_eq!(proxy.trips() - before, 1);
        }
    }
}

#[tokio::test]
async fn trips_are_counted() {
    let (proxy, _, _) = start().await;
    proxy.delay_replies(Duration::from_millis(20));
    let mut conn = through(&proxy).await;
    for _ in 0..3 {
        conn.call(&["PING"]).await.unwrap();
    }
    assert_eq!(proxy.trips(), 3);
    conn.pipeline(&[["PING"]; 50]).await.unwrap();
    assert_eq!(proxy.trips(), 4);
    // Several writes before the first reply are one trip too; two clients are two.
    for _ in 0..3 {
        conn.send(&encode(&["PING"])).await.unwrap();
    }
    for _ in 0..3 {
        conn.reply().await.unwrap();
    }
    assert_eq!(proxy.trips(), 5);
    through(&proxy).await.call(&["PING"]).await.unwrap();
    assert_eq!((proxy.trips(), proxy.requests("PING")), (6, 57));
    proxy.reset_counters();
    assert_eq!((proxy.trips(), proxy.requests("PING"), proxy.connections()), (0, 0, 0));
}

#[tokio::test]
async fn a_throttle_limits_the_rate() {
    let (proxy, _, key) = start().await;
    let mut conn = through(&proxy).await;
    conn.call(&["SET", &key, &"x".repeat(20_000)]).await.unwrap();
    proxy.throttle(100_000);
    let begun = Instant::now();
    assert_eq!(conn.call(&["GET", &key]).await.unwrap().bytes().unwrap().len(), 20_000);
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    proxy.throttle(1_000);
    proxy.heal();
    assert_eq!(conn.call(&["GET", &key]).await.unwrap().bytes().unwrap().len(), 20_000);
}

#[tokio::test]
async fn a_stalled_proxy_takes_everything_and_gives_nothing() {
    let (proxy, mut real, key) = start().await;
    let mut conn = through(&proxy).await.with_deadline(Duration::from_millis(60));
    conn.call(&["PING"]).await.unwrap();
    proxy.stall();
    assert!(matches!(conn.call(&["INCR", &key]).await, Err(Error::Timeout { .. })));
    let mut late = through(&proxy).await;
    late.send(&encode(&["INCR", &key])).await.unwrap();
    proxy.until(|now| now.requests("INCR") == 2).await.unwrap();
    assert!(real.call(&["GET", &key]).await.unwrap().is_nil());
    proxy.unstall();
    late.reply().await.unwrap();
    conn.reply().await.unwrap();
    assert_eq!(real.call(&["GET", &key]).await.unwrap().text(), Some("2"));
    assert_eq!(proxy.lost(), 0);
}

#[tokio::test]
async fn connections_can_be_refused() {
    let (proxy, _, _) = start().await;
    let mut old = through(&proxy).await;
    old.call(&["PING"]).await.unwrap();
    proxy.refuse().await.unwrap();
    proxy.refuse().await.unwrap();
    assert!(matches!(Conn::open(&proxy.url()).await, Err(Error::Io { .. })));
    assert_eq!(old.call(&["PING"]).await.unwrap().text(), Some("PONG"));
    proxy.accept().await.unwrap();
    proxy.accept().await.unwrap();
    assert_eq!(through(&proxy).await.call(&["PING"]).await.unwrap().text(), Some("PONG"));
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn all_connections_can_be_cut_now() {
    let (proxy, mut real, key) = start().await;
    let mut idle = through(&proxy).await;
    idle.call(&["PING"]).await.unwrap();
    let mut busy = through(&proxy).await;
    busy.send(&[encode(&["INCR", &key]), encode(&["BLPOP", "nothing-comes-here", "0"])].concat())
        .await
        .unwrap();
    assert_eq!(busy.reply().await.unwrap().int(), Some(1));
    // BLPOP is under way when the server says so.
    while !real.call(&["CLIENT", "LIST"]).await.unwrap().text().unwrap().contains("cmd=blpop") {}
    assert_eq!(proxy.cut_all().await.unwrap(), 2);
    assert!(matches!(idle.call(&["PING"]).await, Err(Error::Closed)));
    assert_eq!(busy.rest().await.unwrap(), b"");
    assert_eq!((proxy.lost(), proxy.strikes(), proxy.counters().open), (1, 0, 0));
    through(&proxy).await.call(&["PING"]).await.unwrap();
}

#[tokio::test]
async fn faults_find_their_requests() {
    let (proxy, _, key) = start().await;
    let always =
        proxy.corrupt(Match::name("ECHO").with_arg("all").always(), |_| b"+all\r\n".to_vec());
    let third = proxy.corrupt(Match::name("ECHO").every(3), |_| b"+third\r\n".to_vec());
    let mut conn = through(&proxy).await;
    let mut seen = Vec::new();
    for word in ["a", "fall", "b", "c", "wall", "d", "e", "f"] {
        seen.push(conn.call(&["ECHO", word]).await.unwrap().text().unwrap().to_owned());
    }
    assert_eq!(seen, ["a", "all", "b", "third", "all", "d", "e", "third"]);
    assert_eq!((always.strikes(), third.strikes(), proxy.strikes()), (2, 2, 4));
    always.remove();
    assert_eq!(conn.call(&["ECHO", "all"]).await.unwrap().text(), Some("all"));
    proxy.heal();
    proxy.cut_before(Match::any());
    assert!(matches!(conn.call(&["EXISTS", &key]).await, Err(Error::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_the_counters_agree_with_the_server() {
    let (proxy, mut real, key) = start().await;
    let proxy = std::sync::Arc::new(proxy);
    proxy.cut_before(Match::name("INCR").every(31));
    proxy.cut_after(Match::name("INCR").every(37));
    proxy.cut_in_reply(Match::name("INCR").every(41), 2);
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (proxy, key) = (proxy.clone(), key.clone());
            tokio::spawn(async move {
                let (mut conn, mut acknowledged) = (through(&proxy).await, 0);
                for _ in 0..200 {
                    match conn.call(&["INCR", &key]).await {
                        Ok(reply) => acknowledged += u64::from(reply.int().is_some()),
                        Err(Error::Closed) => conn = through(&proxy).await,
                        Err(other) => panic!("{other}"),
                    }
                }
                acknowledged
            })
        })
        .collect();
    let mut acknowledged = 0;
    for task in tasks {
        acknowledged += task.await.unwrap();
    }
    let counters = proxy.counters();
    let applied: u64 = real.call(&["GET", &key]).await.unwrap().text().unwrap().parse().unwrap();
    assert_eq!(counters.requests("INCR"), 3_200);
    assert_eq!(counters.replies, acknowledged);
    assert_eq!(applied, acknowledged + counters.lost);
    assert_eq!(counters.strikes, 3_200 - acknowledged);
    assert!(counters.lost > 100 && counters.strikes > counters.lost + 80, "{counters:?}");
    assert_eq!(counters.trips, 3_200);
}

#[tokio::test]
async fn the_end_of_the_server_reaches_the_client() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let mut conn = through(&proxy).await;
    conn.call(&["PING"]).await.unwrap();
    server.pause().await.unwrap();
    conn.send(&encode(&["INCR", "n"])).await.unwrap();
    proxy.until(|now| now.requests("INCR") == 1).await.unwrap();
    server.kill().await.unwrap();
    assert_eq!(conn.rest().await.unwrap(), b"");
    assert_eq!(proxy.lost(), 1);
    assert_eq!(through(&proxy).await.rest().await.unwrap(), b"");
    server.restart().await.unwrap();
    assert_eq!(through(&proxy).await.call(&["INCR", "n"]).await.unwrap().int(), Some(1));
}
