//! Prices that change: a message wakes, and the key says what is true.
//!
//! ```sh
//! cargo run -p russet-core-conn --example hub -- redis://localhost
//! redis-cli set prices:SEA 199; redis-cli publish prices:SEA changed
//! ```

use russet_core_conn::{Cmd, Delivery, Key, Redis, Topic};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "redis://localhost".into());
    let redis = Redis::connect(&url).await?;
    let prices = ["SEA", "LAX", "JFK"].map(|airport| Key::raw(format!("prices:{airport}")));
    // Subscribed first and read then: what changes in between is heard.
    let mut changes = redis.hub().subscribe(Topic::pattern("prices:*")).await?;
    for price in &prices {
        show(&redis, price).await?;
    }
    let closing = redis.shutdown_on_signal();
    let listening = async {
        while let Some(delivery) = changes.next().await {
            match delivery {
                Delivery::Message(message) => {
                    show(&redis, &Key::raw(message.channel().to_vec())).await?;
                }
                // Something was not heard, and nobody knows what: all of it is read again.
                Delivery::Missed(_) | Delivery::Gap(_) => {
                    for price in &prices {
                        show(&redis, price).await?;
                    }
                }
                Delivery::Away(error) => println!("what is shown may be old: {error}"),
                other => println!("{other:?}"),
            }
        }
        Ok::<_, russet_core_conn::Error>(())
    };
    let (closed, listened) = tokio::join!(closing, listening);
    closed?;
    Ok(listened?)
}

async fn show(redis: &Redis, key: &Key) -> Result<(), russet_core_conn::Error> {
    let price: Option<String> = redis.run(Cmd::read("GET").key(key)).await?;
    println!("{key:?}: {}", price.as_deref().unwrap_or("not known"));
    Ok(())
}
