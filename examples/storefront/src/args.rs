//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use russet_storefront::app::Settings;
use russet_storefront::load::{HIGHEST_RATE, Mix, Popularity};
use russet_storefront::origin::fill::MOST_PRODUCTS;

/// A fare shop on a cache, with a load on it and a live dashboard.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The Redis or Valkey server
    #[arg(long, value_name = "URL", default_value = "redis://127.0.0.1:6379")]
    redis: String,
    /// Where to listen [default: 127.0.0.1:8080, with --headless a free port]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Products in all: one departure for each route, the rest by popularity
    #[arg(long, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(5_366..=i64::from(MOST_PRODUCTS)))]
    scale: u32,
    /// Requests a second of the load; 0 is none
    #[arg(long, value_name = "N", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(HIGHEST_RATE)))]
    rate: u32,
    /// Draw routes by Zipf's law with this exponent, not by their real flights
    #[arg(long, value_name = "S", value_parser = exponent)]
    zipf: Option<f64>,
    /// Shares of requests [default: route=85,airport=10,state=4.5,fare=0.5]
    #[arg(long, value_name = "SHARES")]
    mix: Option<Mix>,
    /// No browser: run the load for --seconds, print a summary, and end with 0 only if it was right
    #[arg(long)]
    pub(crate) headless: bool,
    /// How long a headless run takes
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(3..=86_400))]
    pub(crate) seconds: u64,
    /// Keep the database in this folder [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Make every database read slower by this
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    origin_delay_ms: u64,
    /// Seed of the load: the same seed asks the same
    #[arg(long, value_name = "N", default_value_t = 2008)]
    seed: u64,
}

impl Args {
    pub(crate) fn settings(&self) -> Settings {
        let port = if self.headless { 0 } else { 8080 };
        Settings {
            redis: self.redis.clone(),
            listen: self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port))),
            products: self.scale,
            rate: self.rate,
            popularity: self.zipf.map_or(Popularity::Flights, Popularity::Zipf),
            mix: self.mix.unwrap_or_default(),
            data: self.data.clone(),
            origin_delay: Duration::from_millis(self.origin_delay_ms),
            seed: self.seed,
        }
    }
}

fn exponent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(exponent) if (0.0..=5.0).contains(&exponent) => Ok(exponent),
        _ => Err("a number from 0 to 5 is needed".to_owned()),
    }
}
