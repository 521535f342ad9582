//! scratch
use russet_core_conn::*;
use std::time::{Duration, Instant};
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let url = std::env::args().nth(1).unwrap();
    let redis = Redis::connect(&url).await.unwrap();
    println!("{:?}", redis.ping().await);
    let k = Key::raw("smoke");
    let l = Key::raw("l");
    println!(
        "{:?}",
        redis
            .run::<Value>(Cmd::idempotent("SET").key(&k).arg("x".repeat(512)).arg("PX").arg(60000))
            .await
    );
    println!("{:?}", redis.run::<Value>(Cmd::write("DEL").key(&l)).await);
    println!(
        "{:?}",
        redis.run::<Value>(Cmd::write("RPUSH").key(&l).arg("message").arg("b").arg("c")).await
    );
    println!("{:?}", redis.run::<Vec<String>>(Cmd::read("LRANGE").key(&l).arg(0).arg(-1)).await);
    println!("{:?}", redis.run::<Value>(Cmd::read("LRANGE").key(&k).arg(0).arg(-1)).await);
    println!(
        "{:?}",
        redis.run::<Value>(Cmd::read("MGET").key(&k).key(&l)).await.map_err(|e| e.to_string())
    );
    println!("{:?}", redis.run::<Value>(Cmd::read("KEYS").arg("smo*")).await);
    println!("{:?}", redis.run::<Value>(Cmd::write("BLPOP").key(&l).arg(1)).await);
    println!(
        "{:?}",
        redis
            .transaction([Cmd::write("RPOP").key(&l), Cmd::read("LRANGE").key(&l).arg(0).arg(-1)])
            .await
    );
    println!(
        "{:?}",
        redis
            .transaction([Cmd::write("INCR").key(&l), Cmd::read("LRANGE").key(&l).arg(0).arg(-1)])
            .await
    );
    println!(
        "{:?}",
        redis.transaction([Cmd::write("NOSUCH").key(&l)]).await.map_err(|e| e.to_string())
    );
    println!("size {}", std::mem::size_of_val(&redis.run::<Value>(Cmd::read("GET").key(&k))));
    let fredc = {
        use fred::prelude::*;
        let c = Builder::from_config(Config::from_url(&url).unwrap())
            .with_config(|c| c.version = fred::types::RespVersion::RESP3)
            .with_performance_config(|p| p.default_command_timeout = Duration::from_millis(500))
            .build()
            .unwrap();
        c.init().await.unwrap();
        c
    };
    let script = Box::leak(Box::new(Script::new(
        "s",
        "local n = redis.call('INCR', KEYS[1])\nif n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end\nreturn n",
    )));
    let sha: String = {
        use fred::prelude::*;
        fredc.eval::<i64,_,_,_>("local n = redis.call('INCR', KEYS[1])\nif n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end\nreturn n", "c", 60000).await.unwrap();
        sha1_hex(
            "local n = redis.call('INCR', KEYS[1])\nif n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end\nreturn n",
        )
    };
    let script: &'static Script = script;
    for tasks in [1usize, 64, 256] {
        for _ in 0..5 {
            let mut out = vec![];
            for side in 0..4 {
                let t = Instant::now();
                let until = t + Duration::from_millis(1000);
                let hs: Vec<_> = (0..tasks)
                    .map(|_| {
                        let (r, f, k, sha) = (redis.clone(), fredc.clone(), k.clone(), sha.clone());
                        tokio::spawn(async move {
                            let mut n = 0u64;
                            while Instant::now() < until {
                                match side {
                                    0 => {
                                        let _: Option<bytes::Bytes> =
                                            r.run(Cmd::read("GET").key(&k)).await.unwrap();
                                    }
                                    1 => {
                                        use fred::prelude::*;
                                        let _: Option<bytes::Bytes> = f.get("smoke").await.unwrap();
                                    }
                                    2 => {
                                        let _: i64 = r
                                            .script(script.key(&Key::raw("c")).arg(60000))
                                            .await
                                            .unwrap();
                                    }
                                    _ => {
                                        use fred::prelude::*;
                                        let _: i64 =
                                            f.evalsha(sha.as_str(), "c", 60000).await.unwrap();
                                    }
                                }
                                n += 1;
                            }
                            n
                        })
                    })
                    .collect();
                let mut n = 0;
                for h in hs {
                    n += h.await.unwrap();
                }
                out.push(n as f64 / t.elapsed().as_secs_f64() / 1000.0);
            }
            println!(
                "{tasks}: get {:.0} / {:.0} = {:.2}; script {:.0} / {:.0} = {:.2}",
                out[0],
                out[1],
                out[0] / out[1],
                out[2],
                out[3],
                out[2] / out[3]
            );
        }
    }
    println!("{:?}", redis.close().await);
}
fn sha1_hex(s: &str) -> String {
    use sha1::Digest;
    sha1::Sha1::digest(s).iter().map(|b| format!("{b:02x}")).collect()
}
