//! What the wall is for.

use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::config::{Config, ServerConfig};
use fred::types::{ClusterHash, CustomCommand, RespVersion, Value};
use russet_testkit::Server;

use super::{NEIGHBOURS, words};

/// Passes while the bare client is wrong: one list, read once, gives callers each other's replies from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "shows how the client below fails without the wall"]
async fn bare_fred_gives_callers_each_others_replies() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let words = words("message", 3);
    conn.call(&[&["RPUSH", "list"][..], &words].concat()).await.unwrap();
    for n in 0..NEIGHBOURS {
        conn.call(&["SET", &format!("own:{n}"), &format!("mine-{n}")]).await.unwrap();
    }
    let config = Config {
        server: ServerConfig::new_centralized("127.0.0.1", server.port()),
        version: RespVersion::RESP3,
        ..Config::default()
    };
    let client = Client::new(config, None, None, None);
    let task = client.connect();
    client.wait_for_connect().await.unwrap();

    let range = CustomCommand::new_static("LRANGE", ClusterHash::FirstKey, false);
    let reader = client.clone();
    let list = tokio::spawn(async move {
        tokio::time::timeout(
            Duration::from_secs(1),
            reader.custom::<Value, _>(range, vec!["list", "0", "-1"]),
        )
        .await
    });
    let neighbours: Vec<_> = (0..NEIGHBOURS)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut foreign = 0;
                for _ in 0..100 {
                    let read = client.get::<Value, _>(format!("own:{n}"));
                    match tokio::time::timeout(Duration::from_millis(500), read).await {
                        Ok(read)
                            if read.as_ref().unwrap().as_str().as_deref()
                                == Some(&format!("mine-{n}")) => {}
                        Ok(_) => foreign += 1,
                        Err(_) => break,
                    }
                }
                foreign
            })
        })
        .collect();
    let mut foreign = 0;
    for neighbour in neighbours {
        foreign += neighbour.await.unwrap();
    }
    let list = list.await.unwrap();
    println!("foreign replies: {foreign} of {}; the list: {list:?}", NEIGHBOURS * 100);
    assert!(foreign > 0, "the bare client has been mended");
    task.abort();
}
