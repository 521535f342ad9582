//! A worker in a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use russet_core_conn::Redis;
use russet_testkit::TestProcess;

use super::super::ms;
use super::table::{Row, Table};
use crate::support::url;

pub(super) fn start(server: SocketAddr, folder: &Path) -> TestProcess {
    let variables = [
        ("RUSSET_TEST_SERVER", server.to_string().into()),
        ("RUSSET_TEST_FOLDER", folder.as_os_str().to_owned()),
    ];
    TestProcess::start("behind::soak::process::one_process", variables).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that others start, stop and kill"]
async fn one_process() {
    let Ok(server) = std::env::var("RUSSET_TEST_SERVER") else { return };
    let folder = PathBuf::from(std::env::var("RUSSET_TEST_FOLDER").unwrap());
    let redis = Redis::builder(&url(server.parse().unwrap())).build().unwrap();
    let buffer = super::buffer(&redis);
    let rows = buffer.entities::<u64, Row>("row").unwrap();
    let worker = loop {
        let table = Table::open(&folder);
        match buffer.worker().sink(&rows, table).start().await {
            Ok(worker) => break worker,
            // Redis is just being killed.
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::time::sleep(ms(20)).await;
    };
    let mut nothing = String::new();
    let told = tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut nothing));
    told.await.unwrap().unwrap();
    let left = worker.shutdown(ms(10_000)).await;
    assert_eq!(left.undrained, 0, "{left:?}");
}
