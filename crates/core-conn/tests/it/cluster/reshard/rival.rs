//! The same load on the clustered client of `fred`, which is why none of it routes anything here: what it gets wrong shows
//! that the load would find it.

use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, KeysInterface, LuaInterface};
use fred::types::Builder;
use fred::types::config::{Config, ServerConfig};

use super::*;

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        // It does not say.
        Self { why: error.to_string(), perhaps: true }
    }
}

impl Calls for Client {
    async fn get(&self, key: &Key) -> Result<Bytes, Failed> {
        Ok(KeysInterface::get(self, key.as_ref()).await?)
    }

    async fn add(&self, key: &Key) -> Result<u64, Failed> {
        Ok(self.incr(key.as_ref()).await?)
    }

    async fn add_by_script(&self, key: &Key) -> Result<u64, Failed> {
        let script = "return redis.call('INCR', KEYS[1])";
        Ok(self.eval(script, vec![key.as_ref()], Vec::<Bytes>::new()).await?)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "shows what another client does"]
async fn the_clustered_client_of_fred_hands_out_wrong_replies() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let nodes = cluster.nodes();
    let slots: Vec<u16> = (0..SLOTS).collect();
    let places = nodes.iter().map(|node| ("127.0.0.1", node.port())).collect();
    let server = ServerConfig::new_clustered(places);
    let client = Builder::from_config(Config { server, ..Config::default() })
        .with_performance_config(|config| config.default_command_timeout = Duration::from_secs(5))
        .build()
        .unwrap();
    client.init().await.unwrap();
    let counters: Arc<Vec<_>> = Arc::new(names(&slots).into_iter().map(Counter::new).collect());
    for Counter { key, own, .. } in counters.iter() {
        let name = key.as_ref();
        let () = client.set(own.as_ref(), name, None, None, false).await.unwrap();
    }
    let found = Arc::new(Found::default());
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        tasks.spawn(load(client.clone(), counters.clone(), found.clone(), task));
    }
    for (from, to) in [(0, 1), (1, 0)] {
        Moving::Open(ms(3_000)).step(&cluster, &slots, &nodes[from], &nodes[to]).await;
    }
    found.over.store(true, SeqCst);
    tokio::time::timeout(Duration::from_secs(30), tasks.join_all()).await.ok();
    let [calls, failed, wrong] =
        [&found.calls, &found.failed, &found.wrong].map(|n| n.load(SeqCst));
    println!("{calls} calls, {failed} failed, {wrong} answered with another call's reply");
    assert!(failed + wrong > 0, "it has got better");
}
