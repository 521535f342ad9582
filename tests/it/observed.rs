//! What an operator sees of calls: metrics and spans, and in neither a key, a value or a password.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use russet_cache::Cache;
use russet_core_conn::{Breaker, Cmd, Key, KeySpace, Redis, Script};
use russet_testkit::Server;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

const KEY: &str = "the-secret-key";
const VALUE: &str = "the-secret-value";
const PASSWORD: &str = "the-secret-password";

/// One test, because a recorder and a subscriber are the process's.
#[test]
fn calls_are_counted_and_traced_without_what_they_carry() {
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    recorder.install().unwrap();
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let errors = runtime.block_on(traffic());

    let mut counters = BTreeMap::new();
    for (key, _, _, value) in snapshots.snapshot().into_vec() {
        let labels: Vec<_> =
            key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.key().name(), labels.join(","));
        let count = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(samples) => samples.len() as u64,
            DebugValue::Gauge(_) => 0,
        };
        counters.insert(name, count);
    }
    for (name, count) in [
        ("russet_redis_calls_total{operation=SET,outcome=ok}", 1),
        ("russet_redis_calls_total{operation=INCR,outcome=rejected}", 1),
        ("russet_redis_calls_total{operation=GET,outcome=not_sent}", 2),
        ("russet_redis_call_seconds{operation=SET}", 1),
        ("russet_breaker_transitions_total{breaker=guard,to=forced-open}", 1),
        ("russet_breaker_refused_total{breaker=guard}", 1),
        ("russet_cache_lookups_total{cache=names,result=miss}", 1),
        ("russet_cache_lookups_total{cache=names,result=hit}", 1),
        ("russet_cache_lookups_total{cache=names,result=unavailable}", 1),
        ("russet_cache_loads_total{cache=names,result=ok}", 2),
        ("russet_cache_load_seconds{cache=names}", 2),
        ("russet_cache_fills_total{cache=names,result=ok}", 1),
    ] {
        assert!(
            counters.get(name).is_some_and(|found| *found >= count),
            "{name} ≥ {count} in {counters:#?}"
        );
    }

    let traced = lines.text();
    for part in [
        "redis.call{operation=\"SET\" node=",
        "outcome=\"rejected\"",
        "connection event",
        "the breaker changes",
    ] {
        assert!(traced.contains(part), "no {part} in:\n{traced}");
    }
    let seen = format!("{traced}{errors}{counters:?}");
    for secret in [KEY, VALUE, PASSWORD] {
        assert!(!seen.contains(secret), "{secret} is in:\n{seen}");
    }
}

/// Some of everything; answers what the errors and handles print.
async fn traffic() -> String {
    let server = Server::builder().password(PASSWORD).start().await.unwrap();
    let redis = Redis::builder(&format!("redis://:{PASSWORD}@{}", server.addr()))
        .deadline(Duration::from_secs(5))
        .build()
        .unwrap();
    let space = KeySpace::new("observed").unwrap();
    let key = space.key("v", KEY);
    let () = redis.run(Cmd::idempotent("SET").key(&key).arg(VALUE)).await.unwrap();
    let mut printed = String::new();
    let mut note = |what: &dyn std::fmt::Debug| printed.push_str(&format!("{what:?}\n"));
    let not_a_number = redis.run::<i64>(Cmd::write("INCR").key(&key)).await.unwrap_err();
    note(&not_a_number);
    note(&not_a_number.to_string());
    let broken = Script::new("broken", "return redis.call('LPUSH', KEYS[1], ARGV[1])");
    note(&redis.script::<i64>(broken.key(&key).arg(VALUE)).await.unwrap_err());
    note(&redis.run::<i64>(Cmd::read("GET").key(&key)).await.unwrap_err());

    let breaker = Breaker::new("guard");
    breaker.force_open();
    let guarded = redis.with_breaker(&breaker);
    note(&guarded.run::<i64>(Cmd::write("INCR").key(&key)).await.unwrap_err());
    note(&guarded);

    let names: Cache<String> =
        Cache::builder(&redis, &space, "names").budget(Duration::from_secs(5)).build().unwrap();
    let load = |_| async { Ok::<_, io::Error>(VALUE.to_owned()) };
    assert!(!names.get_or_load(KEY, load).await.unwrap().is_hit());
    assert!(names.get_or_load(KEY, load).await.unwrap().is_hit());

    let mut wrong = server.addr();
    wrong.set_port(1);
    let stranger = Redis::builder(&format!("redis://:{PASSWORD}@{wrong}"))
        .deadline(Duration::from_millis(200))
        .build()
        .unwrap();
    note(&stranger);
    note(&stranger.run::<()>(Cmd::read("GET").key(&Key::raw(KEY))).await.unwrap_err());
    let impostor = Redis::builder(&format!("redis://:{PASSWORD}x@{}", server.addr()))
        .deadline(Duration::from_millis(500))
        .build()
        .unwrap();
    note(&impostor.run::<()>(Cmd::read("GET").key(&Key::raw(KEY))).await.unwrap_err());

    server.kill().await.unwrap();
    assert!(!names.get_or_load(KEY, load).await.unwrap().is_hit());
    note(&names);
    note(&redis.close().await);
    printed
}

#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}
