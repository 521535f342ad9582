//! Two named connections: their health for as long as the program runs, and their end at SIGTERM or Ctrl-C.
//!
//! ```sh
//! cargo run -p russet-core-conn --example registry -- redis://localhost redis://localhost:6380
//! ```

use std::error::Error;
use std::time::Duration;

use russet_core_conn::{Health, Redis, Registry};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut urls = std::env::args().skip(1);
    let mut url = || urls.next().unwrap_or_else(|| "redis://localhost".into());
    let registry = Registry::new();
    registry.add(Registry::STATE, Redis::builder(&url()).connection_name("example-state"))?;
    registry.add(Registry::CACHE, Redis::builder(&url()).connection_name("example-cache"))?;

    tokio::select! {
        () = watch(&registry) => {}
        report = registry.shutdown_on_signal() => {
            for (name, left) in report?.iter() {
                println!("{name}: {} not sent, {} unknown", left.not_sent, left.unknown);
            }
        }
    }
    Ok(())
}

/// What a service would answer to its orchestrator.
async fn watch(registry: &Registry) {
    loop {
        let report = registry.health().await;
        for (name, health) in report.iter() {
            match health {
                Health::Healthy { latency, .. } => println!("{name}: {latency:?}"),
                Health::Unhealthy { error } => println!("{name}: {error}"),
                _ => {}
            }
        }
        if report.state_evicts() == Some(true) {
            println!("{} is on a server that may evict it", Registry::STATE);
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}
