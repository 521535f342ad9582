//! `cargo xtask bench breaker`: what a closed breaker costs a call, beside failsafe's, and a GET behind one beside a
//! GET without. Only reported.

use std::future::ready;
use std::process::ExitCode;

use failsafe::futures::CircuitBreaker;
use russet_benchmarks::{Ops, Side, Suite, rivals::RUSSET};
use russet_core_conn::{Breaker, Cmd, Key, Redis, Verdict};

/// Calls for one operation, so that the microseconds of an operation are the nanoseconds of a call.
const CALLS: usize = 1_000;

const KEY: &str = "bench:breaker";

fn main() -> ExitCode {
    Suite::main("breaker", async |suite| {
        for tasks in [1, 2] {
            let ours = (RUSSET, russet());
            let other = ("failsafe 1.3, defaults", failsafe());
            let row = suite.row(format!("1,000 calls {tasks}")).tasks(tasks).micros();
            row.run(ours, other).await?;
        }
        let redis = Redis::connect(suite.url()).await?;
        let () = redis.run(Cmd::idempotent("SET").key(&Key::raw(KEY)).arg("v")).await?;
        let guarded = redis.with_breaker(&Breaker::new("bench"));
        for tasks in [1, 64] {
            let (ours, other) =
                (("russet, behind a breaker", get(&guarded)), (RUSSET, get(&redis)));
            suite.row(format!("get {tasks}")).tasks(tasks).run(ours, other).await?;
        }
        Ok(())
    })
}

fn russet() -> impl Side {
    let breaker = Breaker::builder_for("bench", |_: &()| Verdict::Failure).build();
    move |mut ops: Ops| {
        let breaker = breaker.clone();
        async move {
            let breaker = breaker?;
            while ops.next() {
                for _ in 0..CALLS {
                    breaker.call(|| ready(Ok(()))).await.map_err(|_| "a call failed")?;
                }
                tokio::task::yield_now().await;
            }
            Ok(())
        }
    }
}

fn failsafe() -> impl Side {
    let breaker = failsafe::Config::new().build();
    move |mut ops: Ops| {
        let breaker = breaker.clone();
        async move {
            while ops.next() {
                for _ in 0..CALLS {
                    let call = breaker.call(ready(Ok::<(), ()>(())));
                    call.await.map_err(|_| "a call failed")?;
                }
                tokio::task::yield_now().await;
            }
            Ok(())
        }
    }
}

fn get(redis: &Redis) -> impl Side {
    let (redis, key) = (redis.clone(), Key::raw(KEY));
    move |mut ops: Ops| {
        let (redis, key) = (redis.clone(), key.clone());
        async move {
            while ops.next() {
                let _: String = redis.run(Cmd::read("GET").key(&key)).await?;
            }
            Ok(())
        }
    }
}
