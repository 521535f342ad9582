//! `cargo xtask bench lease`: one acquire and its release, each task on a name of its own, in microseconds. Beside the
//! lock that is usually written by hand, beside the same two scripts without us, and beside rslock. Only reported.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fred::{
    interfaces::{KeysInterface, LuaInterface},
    prelude::Client,
    types::{Expiration, SetOptions},
};
use rslock::LockManager;
use russet_benchmarks::{
    Ops, Result, Row, Side, Suite,
    rivals::{self, FRED, RUSSET},
};
use russet_core_conn::{KeySpace, Leases, Redis, Released};

/// The default of ours; no lease is held for as long as a third of it.
const TTL: Duration = Duration::from_secs(10);

const ACQUIRE: &str = include_str!("../../../crates/core-conn/src/scripts/lease_acquire.lua");
const RELEASE: &str = include_str!("../../../crates/core-conn/src/scripts/lease_release.lua");

/// As the documentation of `SET` has it.
const UNLOCK: &str = "\
if redis.call('get', KEYS[1]) == ARGV[1] then
  return redis.call('del', KEYS[1])
else
  return 0
end";

fn main() -> ExitCode {
    Suite::main("lease", async |suite| {
        let redis = Redis::connect(suite.url()).await?;
        let leases = Leases::new(&redis, &KeySpace::new("bench")?)?;
        let fred = rivals::fred(suite.url()).await?;
        let unlock: String = fred.script_load(UNLOCK).await?;
        let scripts: [String; 2] =
            [fred.script_load(ACQUIRE).await?, fred.script_load(RELEASE).await?];
        let rslock = LockManager::new(vec![suite.url().to_owned()]);
        for tasks in [1, 64] {
            let other = format!("SET NX PX and EVALSHA by {FRED}");
            let ours = (RUSSET, lease(&leases));
            row(suite, tasks, "raw").run(ours, (&other, by_hand(&fred, &unlock))).await?;
            let other = format!("the same scripts by {FRED}");
            let ours = (RUSSET, lease(&leases));
            row(suite, tasks, "scripts").run(ours, (&other, same_scripts(&fred, &scripts))).await?;
            let ours = (RUSSET, lease(&leases));
            let other = ("rslock 0.10, 1 server, defaults", locked(&rslock));
            row(suite, tasks, "rslock").run(ours, other).await?;
        }
        Ok(())
    })
}

fn row<'a>(suite: &'a mut Suite, tasks: usize, other: &str) -> Row<'a> {
    suite.row(format!("acquire and release {tasks} {other}")).tasks(tasks).micros()
}

fn lease(leases: &Leases) -> impl Side {
    let leases = leases.clone();
    move |mut ops: Ops| {
        let leases = leases.clone();
        async move {
            let task = ops.task();
            while ops.next() {
                let lease = leases.try_acquire(task).await?.held().ok_or("another has it")?;
                done(lease.release().await? == Released::Yes)?;
            }
            Ok(())
        }
    }
}

fn by_hand(client: &Client, unlock: &str) -> impl Side {
    let (client, unlock) = (client.clone(), Arc::<str>::from(unlock));
    move |mut ops: Ops| {
        let (client, unlock) = (client.clone(), Arc::clone(&unlock));
        async move {
            let key = format!("{{bench:0}}:lock:{}", ops.task());
            while ops.next() {
                let token = token();
                let (expire, options) = (Expiration::PX(10_000), SetOptions::NX);
                let set: Option<String> =
                    client.set(&*key, &*token, Some(expire), Some(options), false).await?;
                done(set.is_some())?;
                done(client.evalsha::<i64, _, _, _>(&*unlock, &*key, token).await? == 1)?;
            }
            Ok(())
        }
    }
}

fn same_scripts(client: &Client, scripts: &[String; 2]) -> impl Side {
    let (client, [acquire, release]) =
        (client.clone(), scripts.each_ref().map(|sha| Arc::<str>::from(&**sha)));
    move |mut ops: Ops| {
        let (client, acquire, release) = (client.clone(), acquire.clone(), release.clone());
        async move {
            let key = format!("{{bench:0}}:same:{}", ops.task());
            while ops.next() {
                let token = token();
                let args = vec![token.clone(), "10000000".to_owned(), "86400000".to_owned()];
                let (status, _, _): (i64, i64, i64) =
                    client.evalsha(&*acquire, &*key, args).await?;
                done(status == 1)?;
                done(client.evalsha::<i64, _, _, _>(&*release, &*key, token).await? == 1)?;
            }
            Ok(())
        }
    }
}

fn locked(manager: &LockManager) -> impl Side {
    let manager = manager.clone();
    move |mut ops: Ops| {
        let manager = manager.clone();
        async move {
            let key = format!("bench:rslock:{}", ops.task());
            while ops.next() {
                // It tells nobody whether the release did anything.
                manager.lock(&*key, TTL).await?.release().await;
            }
            Ok(())
        }
    }
}

/// As random as ours.
fn token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

fn done(done: bool) -> Result {
    if done { Ok(()) } else { Err("another has it".into()) }
}
