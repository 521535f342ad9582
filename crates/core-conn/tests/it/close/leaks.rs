//! Nothing is left behind, in a process where nothing else happens.

use russet_core_conn::{Cmd, Hub, Key, Topic};
use russet_testkit::Server;
use tokio::process::Command;

use crate::support::{ms, patient, record_figures, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_that_come_and_go_leave_nothing() {
    check(60).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_leaks() {
    let server = Server::start().await.unwrap();
    check(2_000).await;
    record_figures("leaks", &server.version().to_string(), &[("cycles", 2_000)], &[], &[]);
}

async fn check(cycles: usize) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "close::leaks::cycles", "--ignored", "--nocapture"])
        .env("RUSSET_TEST_CYCLES", cycles.to_string())
        .kill_on_drop(true)
        .status();
    assert!(status.await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process in which others look for leaks"]
async fn cycles() {
    let Ok(cycles) = std::env::var("RUSSET_TEST_CYCLES") else { return };
    let cycles: usize = cycles.parse().unwrap();
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    conn.call(&["RPUSH", "list", "a"]).await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = (tasks(), descriptors());
    for cycle in 0..cycles {
        let redis = patient(&server.url()).connections(2).build().unwrap();
        let _events = redis.events();
        let n: i64 = redis.run(Cmd::write("INCR").key(&Key::raw("n"))).await.unwrap();
        assert_eq!(n, cycle as i64 + 1);
        let own = Hub::builder(&redis).build().unwrap();
        let mut news = redis.hub().subscribe(Topic::channel("news")).await.unwrap();
        let _other = own.subscribe(Topic::pattern("new?")).await.unwrap();
        match cycle % 4 {
            0 => {
                assert!(redis.close().await.is_clean());
                assert!(news.next().await.is_none());
            }
            // A connection of its own.
            1 => {
                let end = Cmd::write("BLMOVE").key(&Key::raw("list")).key(&Key::raw("list"));
                let moved: String = redis.run(end.arg("LEFT").arg("LEFT").arg("0")).await.unwrap();
                assert_eq!(moved, "a");
                redis.close().await;
            }
            // Dropped, with a call that never gets its reply.
            2 => {
                let never = Cmd::write("BLPOP").key(&Key::raw("never")).arg("0");
                redis.with_deadline(ms(20)).run::<Vec<String>>(never).await.unwrap_err();
            }
            // The hubs alone, and one subscribes as it ends.
            _ => {
                let late = own.subscribe(Topic::channel("late"));
                let (_, late) = tokio::join!(own.shutdown(), late);
                late.unwrap_err();
                redis.hub().shutdown().await;
            }
        }
    }
    until("no task is left", async || tasks() <= before.0).await;
    until("no descriptor is left", async || descriptors() <= before.1).await;
    assert_eq!(conn.call(&["CLIENT", "LIST"]).await.unwrap().text().unwrap().lines().count(), 1);
}
