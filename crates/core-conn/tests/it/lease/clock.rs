//! Clocks that step: by the scripts' last argument, which sets their time, and by setting the clock of a server.

use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use russet_core_conn::{Key, Loss, Script};

use super::loss::time;
use super::model::{Asked, Kept as Model};
use super::*;
use crate::support::{record, seed, until};

/// The scripts of a lease, with the time given.
struct Scripts {
    redis: Redis,
    key: Key,
    acquire: Script,
    renew: Script,
    release: Script,
}

const DAY: u64 = 24 * 3_600_000;

impl Scripts {
    async fn new(at: Topology, test: &str) -> Self {
        let (redis, prefix) = crate::support::shared(at, test).await;
        let text = |name, text| Script::new(name, text);
        Self {
            redis,
            key: Key::raw(format!("{prefix}:lease")),
            acquire: text("acquire", include_str!("../../../src/scripts/lease_acquire.lua")),
            renew: text("renew", include_str!("../../../src/scripts/lease_renew.lua")),
            release: text("release", include_str!("../../../src/scripts/lease_release.lua")),
        }
    }

    async fn acquire(&self, now: u64, token: u8, ttl: u64) -> Asked {
        let call = self.acquire.key(&self.key).arg(u64::from(token)).arg(ttl).arg(DAY).arg(now);
        match self.redis.script::<(i64, u64, u64)>(call).await.unwrap() {
            (1, fence, left) => Asked::Granted { fence, left },
            (0, fence, left) => Asked::Busy { fence, left },
            (2, fence, 0) => Asked::Spent { fence },
            other => panic!("{other:?}"),
        }
    }

    async fn renew(&self, now: u64, (token, fence): (u8, u64), ttl: u64) -> Result<u64, u64> {
        let call = self.renew.key(&self.key).arg(u64::from(token)).arg(fence).arg(ttl);
        match self.redis.script::<(i64, u64, u64)>(call.arg(DAY).arg(now)).await.unwrap() {
            (1, same, left) if same == fence => Ok(left),
            (0, given, 0) => Err(given),
            other => panic!("{other:?}"),
        }
    }

    async fn release(&self, token: u8) -> bool {
        self.redis.script(self.release.key(&self.key).arg(u64::from(token))).await.unwrap()
    }

    async fn kept(&self, conn: &mut Conn) -> Model {
        let call = [b"HMGET".as_slice(), self.key.as_bytes(), b"owner", b"fence", b"until"];
        let reply = conn.call(&call).await.unwrap();
        let field = |n: usize| reply.items().unwrap()[n].text().map_or(0, |n| n.parse().unwrap());
        Model { owner: u8::try_from(field(0)).unwrap(), fence: field(1), until: field(2) }
    }
}

contract!(threads, the_scripts_do_what_the_model_does);
async fn the_scripts_do_what_the_model_does(at: Topology) {
    let sizes = agree(at, 1_500).await;
    assert!(sizes.iter().all(|(_, count)| *count >= 15), "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_lease_scripts() {
    let sizes = agree(Topology::Server, 150_000).await;
    let mut conn = shared::conn().await.unwrap();
    let info = conn.call(&["INFO", "server"]).await.unwrap();
    let version = info.text().unwrap().lines().find(|line| line.contains("_version:")).unwrap();
    record("lease_scripts", version, &sizes, &[]);
}

/// So many random steps of both, among them clocks that are set; answers and state agree after each. Counts each
/// kind of answer.
async fn agree(at: Topology, steps: u64) -> Vec<(&'static str, u64)> {
    let scripts = Scripts::new(at, "model").await;
    let mut conn = at.conn(scripts.key.as_bytes()).await.unwrap();
    let mut random = StdRng::seed_from_u64(seed());
    let mut model = Model::default();
    // All digits of a double count.
    let mut now: u64 = (1 << 53) - (1 << 30);
    let mut fences = vec![1];
    let mut seen = std::collections::BTreeMap::<_, u64>::new();
    for step in 0..steps {
        now = match random.random_range(0..20) {
            0 => now - random.random_range(0..200),
            1 => now + random.random_range(0..200),
            _ => now + random.random_range(0..4),
        };
        // Tokens come and go, as those of acquires do, and late ones come again.
        let token = u8::try_from(1 + (step / 40 + random.random_range(0..4)) % 200).unwrap();
        let ttl = random.random_range(1..30);
        let kind = match random.random_range(0..10) {
            0..5 => {
                let answer = scripts.acquire(now, token, ttl).await;
                assert_eq!(answer, model.acquire(now, token, ttl), "{step}");
                match answer {
                    Asked::Granted { fence, left } => {
                        fences.push(fence);
                        if left == ttl { "granted" } else { "granted before" }
                    }
                    Asked::Busy { .. } => "busy",
                    Asked::Spent { .. } => "spent",
                }
            }
            5..8 => {
                let back = random.random_range(1..3).min(fences.len());
                let fence = fences[fences.len() - back];
                let token = if random.random_range(0..4) > 0 { model.owner.max(1) } else { token };
                let answer = scripts.renew(now, (token, fence), ttl).await;
                assert_eq!(answer, model.renew(now, (token, fence), ttl), "{step}");
                if answer.is_ok() { "renewed" } else { "not renewed" }
            }
            _ => {
                let token = if random.random_range(0..4) > 0 { model.owner.max(1) } else { token };
                let answer = scripts.release(token).await;
                assert_eq!(answer, model.release(token), "{step}");
                if answer { "released" } else { "not released" }
            }
        };
        *seen.entry(kind).or_default() += 1;
        assert_eq!(scripts.kept(&mut conn).await, model, "{step}");
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
    assert!(fences.is_sorted());
    seen.into_iter().collect()
}

contract!(threads, a_clock_set_forward_ends_a_lease_and_its_holder_learns_of_it);
/// Forward: another is granted it at once. Nobody can prevent that; the number tells.
async fn a_clock_set_forward_ends_a_lease_and_its_holder_learns_of_it(at: Topology) {
    let scripts = Scripts::new(at, "forward").await;
    let (begin, ttl, minute) = (1_795_000_000_000_000, 10_000_000, 60_000_000);
    let Asked::Granted { fence: first, .. } = scripts.acquire(begin, 1, ttl).await else {
        panic!()
    };
    assert_eq!(first, begin);
    let stepped = begin + minute;
    let Asked::Granted { fence: second, .. } = scripts.acquire(stepped, 2, ttl).await else {
        panic!("still busy")
    };
    assert_eq!(second, stepped);
    assert_eq!(scripts.renew(stepped + 1, (1, first), ttl).await, Err(second));
    assert!(!scripts.release(1).await);
    assert_eq!(scripts.renew(stepped + 2, (2, second), ttl).await, Ok(ttl));
    assert!(scripts.release(2).await);

    // Nobody asked in between: the renewal takes it up again, with the same number.
    let Asked::Granted { fence: third, .. } = scripts.acquire(stepped + 3, 3, ttl).await else {
        panic!("still busy")
    };
    assert_eq!(scripts.renew(stepped + minute, (3, third), ttl).await, Ok(ttl));
}

contract!(threads, a_clock_set_back_repeats_no_number);
/// Back: numbers grow all the same, by one, and a dead holder's lease lasts longer by as much.
async fn a_clock_set_back_repeats_no_number(at: Topology) {
    let scripts = Scripts::new(at, "back").await;
    let (begin, ttl, hour) = (1_795_000_000_000_000, 10_000_000, 3_600_000_000);
    let mut last = 0;
    for token in 1..=100 {
        let now = begin - u64::from(token) * hour / 5;
        let Asked::Granted { fence, .. } = scripts.acquire(now, token, ttl).await else { panic!() };
        assert!(fence > last && fence >= begin - hour, "{fence} {last}");
        assert!(token == 1 || fence == last + 1);
        last = fence;
        assert!(scripts.release(token).await);
    }
    // Dead at the beginning of a step back.
    scripts.acquire(begin, 101, ttl).await;
    let busy = scripts.acquire(begin - hour, 102, ttl).await;
    assert!(matches!(busy, Asked::Busy { left, .. } if left == ttl + hour), "{busy:?}");
}

/// The real thing: a server whose clock is set while leases are held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak; needs libfaketime (apt-get install faketime) and Valkey (cargo xtask test --server valkey-9), \
            since libfaketime crashes Debian's Redis"]
async fn soak_lease_clock_of_a_server() {
    let mut clock = Clock::new();
    let server = Server::builder().binary(&clock.binary).start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let redis = patient(&server.url()).build().unwrap();
    let space = KeySpace::new("t").unwrap();
    let leases = quick(&redis, &space, 3_000);
    let mut highest = None;
    let mut steps = 0;
    for _ in 0..20 {
        // Forward, by more than all that comes back below: the numbers are the clock's again.
        let first = take(&leases, "report").await;
        assert!(Some(first.fence()) > highest);
        busy(&leases, "report").await;
        clock.step(&mut conn, 600).await;
        let second = take(&leases, "report").await;
        assert!(second.fence().number() > first.fence().number() + 400_000_000);
        let Loss::Ended { given } = first.loss().await else { panic!("it was not told") };
        assert_eq!(given, Some(second.fence()));
        assert_eq!(first.release().await.unwrap(), Released::WasLost);

        // Forward again, and nobody asks: the lease is kept.
        clock.step(&mut conn, 60).await;
        until("a renewal", async || {
            let until: i64 = kept(&mut conn, &space, "report").await["until"].parse().unwrap();
            until > time(&mut conn).await
        })
        .await;
        assert_eq!(busy(&leases, "report").await.fence, second.fence());
        assert_eq!(second.release().await.unwrap(), Released::Yes);

        // Back: the next number is the last and one.
        let last = take(&leases, "report").await.fence();
        clock.step(&mut conn, -120).await;
        let third = leases.acquire("report", ms(10_000)).await.unwrap().held().unwrap();
        assert_eq!(third.fence().number(), last.number() + 1);
        clock.step(&mut conn, -30).await;
        let retry_after = busy(&leases, "report").await.retry_after;
        assert!(retry_after > ms(30_000), "{retry_after:?}");
        let fence = third.fence();
        assert_eq!(third.release().await.unwrap(), Released::Yes);
        highest = Some(fence);
        steps += 4;
    }
    record("lease_clock", &server.version().to_string(), &[("rounds", 20)], &[("steps", steps)]);
}

/// A Valkey whose clock can be set.
struct Clock {
    _folder: tempfile::TempDir,
    binary: PathBuf,
    time: PathBuf,
    offset: i64,
}

impl Clock {
    fn new() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/servers");
        let unpacked = std::fs::read_dir(here).into_iter().flatten().flatten();
        let unpacked = unpacked.map(|entry| entry.path().join("valkey-server"));
        let path = std::env::var_os("PATH").unwrap();
        let on_path = std::env::split_paths(&path).map(|folder| folder.join("valkey-server"));
        let asked_for = std::env::var_os("RUSSET_SERVER").map(PathBuf::from);
        let valkey = asked_for.into_iter().filter(|path| path.ends_with("valkey-server"));
        let valkey = valkey.chain(unpacked).chain(on_path).find(|path| path.is_file());
        let valkey = valkey.expect("no valkey-server: `cargo xtask test --server valkey-9`");
        let library = std::fs::read_dir("/usr/lib").unwrap().flatten();
        let library = library.map(|entry| entry.path().join("faketime/libfaketime.so.1"));
        let library = library.into_iter().find(|path| path.is_file());
        let library = library.expect("no libfaketime: `apt-get install faketime`");
        let folder = tempfile::tempdir().unwrap();
        let (binary, time) = (folder.path().join("valkey-server"), folder.path().join("time"));
        std::fs::write(&time, "+0").unwrap();
        let script = format!(
            "#!/bin/sh\nexport LD_PRELOAD={} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 \
             FAKETIME_DONT_FAKE_MONOTONIC=1\nexec {} \"$@\"\n",
            library.display(),
            time.display(),
            std::path::absolute(valkey).unwrap().display(),
        );
        std::fs::write(&binary, script).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&binary, executable).unwrap();
        Self { _folder: folder, binary, time, offset: 0 }
    }

    /// Sets the server's clock by so many seconds, and waits until it says so.
    async fn step(&mut self, conn: &mut Conn, seconds: i64) {
        let before = time(conn).await;
        self.offset += seconds;
        // At once: the server reads it at any time.
        let next = self.time.with_extension("next");
        std::fs::write(&next, format!("{:+}", self.offset)).unwrap();
        std::fs::rename(next, &self.time).unwrap();
        let stepped = |now: i64| (now - before - seconds * 1_000_000).abs() < 10_000_000;
        until("the server's clock is set", async || stepped(time(conn).await)).await;
    }
}
