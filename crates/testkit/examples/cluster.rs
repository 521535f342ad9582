//! A cluster that fails over, moves slots, grows and shrinks, and how long each of it takes.
//!
//! ```sh
//! cargo run -p russet-testkit --example cluster
//! ```

use std::time::Instant;

use russet_testkit::{Cluster, Result, Sentinel, slot_of};

#[tokio::main]
async fn main() -> Result<()> {
    let mut watch = Watch(Instant::now());
    let cluster = Cluster::start(3, 1).await?;
    watch.says(&format!("{} is ready", cluster.url()));

    // Two thousand keys in a hundred slots of the first primary.
    let first = cluster.primary_of(0).await?;
    let mut conn = first.conn().await?;
    let tags = (0..).filter(|n| slot_of(n.to_string()) < 100).take(100);
    let keys = tags.flat_map(|tag| (0..20).map(move |n| format!("{{{tag}}}:{n}")));
    let sets: Vec<_> = keys.map(|key| ["SET".to_owned(), key, "value".to_owned()]).collect();
    conn.pipeline(&sets).await?;
    let last = cluster.primary_of(16_383).await?;
    watch.reset();

    // Held open half way: what a client meets is ASK, and then MOVED.
    let open = cluster.open_slots(0..100, &first, &last).await?;
    let moved = open.move_keys().await?;
    let key = &sets.first().map(|set| set[1].clone()).unwrap_or_default();
    println!("  {moved} keys moved; GET at the source: {:?}", conn.call(&["GET", key]).await?);
    open.assign().await?;
    println!("  slots assigned; GET at the source: {:?}", conn.call(&["GET", key]).await?);
    watch.says("100 slots are there");
    cluster.reshard(0..100, &last, &first).await?;
    watch.says("and back");

    let heir = cluster.failover(0).await?;
    watch.says(&format!("{} has taken over from {}", heir.port(), first.port()));
    let dead = cluster.kill_primary_of(0).await?;
    let new = cluster.promoted(0).await?;
    watch.says(&format!("{} was promoted after the death of {}", new.port(), dead.port()));
    dead.restart().await?;
    cluster.ready().await?;
    watch.says("the dead one is back as a replica");

    let added = cluster.add_node().await?;
    watch.says("a node has joined");
    cluster.remove_node(&added).await?;
    watch.says("and left");
    drop(cluster);

    watch.reset();
    let sentinel = Sentinel::start(1, 3).await?;
    watch.says(&format!("{} is ready", sentinel.url()));
    sentinel.failover().await?;
    watch.says("a replica has taken over");
    sentinel.ready().await?;
    watch.says("and all follow it");
    sentinel.kill_primary().await?;
    sentinel.promoted().await?;
    watch.says("a replica was promoted after the death of the primary");
    Ok(())
}

struct Watch(Instant);

impl Watch {
    fn says(&mut self, what: &str) {
        println!("{:>5} ms: {what}", self.0.elapsed().as_millis());
        self.reset();
    }

    fn reset(&mut self) {
        self.0 = Instant::now();
    }
}
