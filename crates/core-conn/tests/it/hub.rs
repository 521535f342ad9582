//! Subscriptions: what arrives, and for how many the server is asked.

use std::time::Duration;

use russet_core_conn::{
    Delivery, ErrorKind, Hub, Message, Redis, SendOutcome, Subscription, Topic,
};
use russet_testkit::shared::Topology;
use russet_testkit::{Conn, Server, contract};
use tokio::task::JoinSet;

use crate::support::{clients, patient, until};

mod close;
mod crowd;
mod lag;
mod loss;
mod rights;
mod wait;

/// A handle to the shared servers, bare connections to them, and a prefix.
async fn start(at: Topology, test: &str) -> (Redis, Servers, String) {
    let (redis, prefix) = crate::support::shared(at, test).await;
    let owner = at.conn(&prefix).await.unwrap();
    (redis, Servers { at, owner, primaries: at.primaries().await.unwrap() }, prefix)
}

/// The shared servers: in a cluster a subscriber may be at any of them.
struct Servers {
    at: Topology,
    /// The one that has the slot of the prefix.
    owner: Conn,
    primaries: Vec<Conn>,
}

impl Servers {
    /// How many clients were subscribed to it by its name.
    async fn publish(&mut self, channel: impl AsRef<str>, payload: impl AsRef<[u8]>) -> i64 {
        let channel = channel.as_ref();
        let named = self.numsub("NUMSUB", channel).await;
        let sent = publish(&mut self.owner, channel, payload).await;
        assert!(self.at == Topology::Cluster || sent >= named, "{sent} {named}");
        named
    }

    /// How many clients all of them know to be subscribed.
    async fn numsub(&mut self, verb: &str, channel: &str) -> i64 {
        let mut all = 0;
        for primary in &mut self.primaries {
            all += numsub(primary, verb, channel).await;
        }
        all
    }

    /// How many connections with this name have a subscription, of how many.
    async fn subscribed(&mut self, name: &str) -> (usize, usize) {
        let mut all = Vec::new();
        for primary in &mut self.primaries {
            all.extend(clients(primary, name).await);
        }
        let without = all.iter().filter(|line| line.contains(" sub=0 psub=0 ssub=0 ")).count();
        // In a cluster there are those that learn its map, and those for calls, which are opened at once.
        (all.len() - without, if self.at == Topology::Cluster { 1 } else { all.len() })
    }
}

/// A handle with such a name that its connections can be told from those of other tests.
fn named(url: &str, name: &str) -> Redis {
    patient(url).connection_name(name).build().unwrap()
}

/// What comes next, in time.
async fn next(subscription: &mut Subscription) -> Delivery {
    let next = tokio::time::timeout(Duration::from_secs(20), subscription.next());
    next.await.expect("nothing comes").expect("it has ended")
}

async fn message(subscription: &mut Subscription) -> Message {
    match next(subscription).await {
        Delivery::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

async fn text(subscription: &mut Subscription) -> String {
    String::from_utf8(message(subscription).await.payload().to_vec()).unwrap()
}

/// How many clients the server sent it to.
async fn publish(conn: &mut Conn, channel: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> i64 {
    let words = [b"PUBLISH".as_slice(), channel.as_ref(), payload.as_ref()];
    conn.call(&words).await.unwrap().int().unwrap()
}

/// How many clients the server knows to be subscribed.
async fn numsub(conn: &mut Conn, verb: &str, channel: &str) -> i64 {
    let reply = conn.call(&["PUBSUB", verb, channel]).await.unwrap();
    reply.items().unwrap()[1].int().unwrap()
}

contract!(threads, what_is_published_after_subscribe_has_resolved_arrives);
async fn what_is_published_after_subscribe_has_resolved_arrives(at: Topology) {
    let (redis, mut servers, prefix) = start(at, "confirmed").await;
    let hub = redis.hub();
    let mut all = Vec::new();
    for n in 0..1_000 {
        let channel = format!("{prefix}:{n}");
        let mut subscription = hub.subscribe(Topic::channel(&channel)).await.unwrap();
        assert_eq!(servers.publish(&channel, channel.as_bytes()).await, 1);
        assert_eq!(text(&mut subscription).await, channel);
        all.push(subscription);
    }
    assert!(all.iter().all(Subscription::is_live));
}

contract!(threads, channels_patterns_and_sharded_channels_are_apart);
async fn channels_patterns_and_sharded_channels_are_apart(at: Topology) {
    let (redis, mut servers, prefix) = start(at, "kinds").await;
    let hub = redis.hub();
    let (name, glob) = (format!("{prefix}:a*"), format!("{prefix}:?*"));
    let mut channel = hub.subscribe(Topic::channel(&name)).await.unwrap();
    let mut same_as_pattern = hub.subscribe(Topic::pattern(&name)).await.unwrap();
    let mut pattern = hub.subscribe(Topic::pattern(&glob)).await.unwrap();
    let mut sharded = hub.subscribe(Topic::sharded(&name)).await.unwrap();
    assert_eq!(servers.publish(&name, "1").await, 1);
    assert_eq!(servers.publish(format!("{prefix}:ab"), "2").await, 0);
    servers.owner.call(&["SPUBLISH", &name, "3"]).await.unwrap();

    let heard = message(&mut channel).await;
    assert_eq!((heard.channel(), heard.pattern()), (name.as_bytes(), None));
    assert_eq!(&heard.payload()[..], b"1");
    for (pattern, glob) in [(&mut same_as_pattern, &name), (&mut pattern, &glob)] {
        let first = message(pattern).await;
        assert_eq!((first.channel(), first.pattern()), (name.as_bytes(), Some(glob.as_bytes())));
        let second = message(pattern).await;
        assert_eq!(second.channel(), format!("{prefix}:ab").as_bytes());
        assert_eq!(&second.payload()[..], b"2");
    }
    let heard = message(&mut sharded).await;
    assert_eq!((heard.channel(), heard.pattern()), (name.as_bytes(), None));
    assert_eq!(&heard.payload()[..], b"3");

    // Nothing else came to any of them.
    servers.publish(&name, "end").await;
    servers.owner.call(&["SPUBLISH", &name, "end"]).await.unwrap();
    for subscription in [&mut channel, &mut same_as_pattern, &mut pattern, &mut sharded] {
        assert_eq!(text(subscription).await, "end");
    }
    assert!(!format!("{heard:?} {hub:?} {redis:?} {sharded:?}").contains(&prefix));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_and_no_payload_is_special() {
    // Its own server: names that are words can't have a prefix.
    let server = Server::start().await.unwrap();
    let (redis, mut conn) = (patient(&server.url()).build().unwrap(), server.conn().await.unwrap());
    let hub = redis.hub();
    let long = vec![b'\r'; 1 << 20];
    let payloads = [
        &b"message"[..],
        b"subscribe",
        b"unsubscribe",
        b"pmessage",
        b"",
        b"\r\n",
        b"$3\r\nabc\r\n",
        b">3\r\n$7\r\nmessage\r\n",
        b"\0\xff\xfe",
        &long,
    ];
    let words = ["message", "subscribe", "unsubscribe", "pmessage", "smessage", "invalidate", ""];
    let bytes = [&b"\0\xff"[..], b"\r\n", b" ", b"$3\r\n"];
    for name in words.map(str::as_bytes).into_iter().chain(bytes) {
        let mut channel = hub.subscribe(Topic::channel(name)).await.unwrap();
        let mut sharded = hub.subscribe(Topic::sharded(name)).await.unwrap();
        for payload in payloads {
            publish(&mut conn, name, payload).await;
            conn.call(&[b"SPUBLISH".as_slice(), name, payload]).await.unwrap();
            for subscription in [&mut channel, &mut sharded] {
                let heard = message(subscription).await;
                assert_eq!((heard.channel(), &heard.payload()[..]), (name, payload));
            }
        }
    }
    let name = vec![b'x'; (64 << 10) + 1];
    let error = hub.subscribe(Topic::channel(&name)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Refused(_)), "{error}");
    assert_eq!(error.outcome(), SendOutcome::NotSent);
    assert!(hub.subscribe(Topic::channel(&name[1..])).await.is_ok());
}

contract!(threads, subscribers_share_one_subscription_and_the_last_ends_it);
async fn subscribers_share_one_subscription_and_the_last_ends_it(at: Topology) {
    let (redis, mut servers, prefix) = start(at, "last").await;
    let hub = redis.hub();
    let name = format!("{prefix}:x");
    type Make = fn(&String) -> Topic;
    let kinds: [(Make, &str, &str); 2] = [
        (|name| Topic::channel(name), "NUMSUB", "PUBLISH"),
        (|name| Topic::sharded(name), "SHARDNUMSUB", "SPUBLISH"),
    ];
    for (topic, verb, publish) in kinds {
        let mut all = Vec::new();
        for _ in 0..50 {
            all.push(hub.subscribe(topic(&name)).await.unwrap());
        }
        assert_eq!(servers.numsub(verb, &name).await, 1);
        // From the middle, too.
        all.drain(10..40);
        servers.owner.call(&[publish, &name, "m"]).await.unwrap();
        for subscription in &mut all {
            assert_eq!(text(subscription).await, "m");
        }
        assert_eq!(servers.numsub(verb, &name).await, 1);
        drop(all);
        until("it is unsubscribed", async || servers.numsub(verb, &name).await == 0).await;
        let _again = hub.subscribe(topic(&name)).await.unwrap();
        assert_eq!(servers.numsub(verb, &name).await, 1);
    }
}

contract!(threads, coming_and_going_at_once_ends_right);
async fn coming_and_going_at_once_ends_right(at: Topology) {
    let (_, mut servers, prefix) = start(at, "churn").await;
    let name = prefix.replace(':', "-");
    let redis = named(&at.url().await.unwrap(), &name);
    let hub = redis.hub();
    let mut tasks = JoinSet::new();
    for task in 0..40 {
        let (hub, prefix) = (hub.clone(), prefix.clone());
        let mut conn = at.conn(&prefix).await.unwrap();
        tasks.spawn(async move {
            for n in 0..25 {
                let channel = format!("{prefix}:{}", (task + n) % 3);
                if n % 5 == 4 {
                    // Begun, and given up at some point.
                    let subscribe = hub.subscribe(Topic::channel(&channel));
                    let _ = tokio::time::timeout(Duration::from_micros(50), subscribe).await;
                    continue;
                }
                let mut subscription = hub.subscribe(Topic::channel(&channel)).await.unwrap();
                let mark = format!("{task}-{n}");
                publish(&mut conn, &channel, &mark).await;
                while text(&mut subscription).await != mark {}
            }
        });
    }
    tasks.join_all().await;
    for n in 0..3 {
        let channel = format!("{prefix}:{n}");
        until("nobody is left", async || servers.numsub("NUMSUB", &channel).await == 0).await;
    }
    assert_eq!(servers.subscribed(&name).await, (0, 1));
    // What the server has is what is known here: the next one works as the first did.
    let mut subscription = hub.subscribe(Topic::channel(format!("{prefix}:0"))).await.unwrap();
    assert_eq!(servers.publish(format!("{prefix}:0"), "m").await, 1);
    assert_eq!(text(&mut subscription).await, "m");
}

contract!(threads, a_hub_of_its_own_has_a_connection_of_its_own);
async fn a_hub_of_its_own_has_a_connection_of_its_own(at: Topology) {
    let (_, mut servers, prefix) = start(at, "own").await;
    let name = prefix.replace(':', "-");
    let redis = named(&at.url().await.unwrap(), &name);
    let mut shared = redis.hub().subscribe(Topic::channel(&prefix)).await.unwrap();
    let mut clone = redis.without_waiting().hub().subscribe(Topic::channel(&prefix)).await.unwrap();
    assert_eq!(servers.subscribed(&name).await, (1, 1), "one for all clones, none for calls");
    let own = Hub::builder(&redis).build().unwrap();
    let mut other = own.subscribe(Topic::channel(&prefix)).await.unwrap();
    assert_eq!(servers.subscribed(&name).await.0, 2);
    assert_eq!(servers.publish(&prefix, "m").await, 2);
    for subscription in [&mut shared, &mut clone, &mut other] {
        assert_eq!(text(subscription).await, "m");
    }
    drop(own);
    assert_eq!(servers.publish(&prefix, "n").await, 2, "a subscription keeps its hub");
    drop(other);
    until("it ends", async || servers.subscribed(&name).await.0 == 1).await;
    assert_eq!(servers.publish(&prefix, "o").await, 1);
    assert_eq!([text(&mut shared).await, text(&mut shared).await], ["n", "o"]);
}
