//! A run without a browser: a line a second, a table at the end, and a verdict.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use crate::app::App;
use crate::feed::Second;
use crate::flood::{self, Flood};
use crate::load::Checks;
use crate::metrics::{Latencies, Quantiles, Totals};
use crate::shelves::{STALENESS, Tiers};
use crate::shop::Shop;

/// The least hit rate of a run that is right, after warm-up.
const LEAST_HIT_RATE: f64 = 0.5;

/// The least share of planned requests that must really be made.
const LEAST_MADE: f64 = 0.99;

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Summary {
    seconds: u64,
    warm_up: u64,
    checks: Checks,
    totals: Totals,
    warm: Totals,
    queries: u64,
    latencies: Latencies,
    whole: Quantiles,
    differing: usize,
    allowed_age: Duration,
    tiers: Vec<Tiers>,
    flood: Flood,
    breaker: String,
}

/// Lets the load run for so many seconds (`None`: it was interrupted before), printing how it goes
/// to standard error. Hit rate and latencies are taken after a warm-up of a third of that time, at
/// most 10 s. After that, one client floods the API for 5 s, or for another third.
pub async fn run(app: &mut App, seconds: u64) -> Summary {
    let warm_up = (seconds / 3).min(10);
    let mut before = app.shop().metrics().totals();
    let mut measured = app.feed().seconds();
    let mut flood = None;
    for second in 1..=seconds {
        // The sender lives as long as the feed, which outlives this.
        drop(measured.changed().await);
        let last = measured.borrow_and_update().clone();
        if second == warm_up {
            before = app.shop().metrics().totals();
            app.shop().metrics().take_run();
            app.progress().take_latency();
            let lasts = flood::LASTS.min(Duration::from_secs(seconds) / 3);
            flood = Some(tokio::spawn(app.flood(lasts)));
        }
        if let Some(last) = last {
            report(app, &last, second, seconds);
        }
    }
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
    let flood = match flood {
        // One that has panicked was none.
        Some(flood) => flood.await.unwrap_or_default(),
        None => Flood::default(),
    };
    app.end_load().await;
    summarize(app, seconds, warm_up, &before, flood).await
}

async fn summarize(
    app: &App,
    seconds: u64,
    warm_up: u64,
    before: &Totals,
    flood: Flood,
) -> Summary {
    let shop = app.shop();
    let totals = shop.metrics().totals();
    let queries = shop.origin().queries();
    Summary {
        seconds,
        warm_up,
        checks: app.progress().checks(),
        totals,
        warm: totals.since(before),
        queries,
        latencies: shop.metrics().take_run(),
        whole: app.progress().take_latency(),
        differing: shop.audit().await.unwrap_or(usize::MAX),
        allowed_age: shop.ledger().allowed_age(),
        tiers: app.shops().map(Shop::tiers).collect(),
        flood,
        breaker: shop.breaker().fleet.to_string(),
    }
}

impl Summary {
    /// Why the run was not right; empty if it was.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let failed = self.totals.failed + self.checks.failed;
        if failed > 0 {
            faults.push(format!(
                "{failed} requests failed (5xx, or an answer that was not what was asked)"
            ));
        }
        match self.warm.hit_rate() {
            Some(rate) if rate >= LEAST_HIT_RATE => {}
            rate => faults
                .push(format!("hit rate after warm-up is {}, not at least 50%", percent(rate))),
        }
        if self.checks.wrong > 0 {
            let first = self.checks.first_wrong.as_deref().unwrap_or_default();
            faults.push(format!("{} fares were wrong; the first: {first}", self.checks.wrong));
        }
        if self.checks.right == 0 {
            faults.push("no fare was served".to_owned());
        }
        if (self.checks.made as f64) < LEAST_MADE * self.checks.planned as f64
            || self.checks.planned == 0
        {
            let Checks { made, planned, .. } = self.checks;
            faults
                .push(format!("{made} of {planned} planned requests were made, not at least 99%"));
        }
        if self.checks.denied > 0 {
            faults
                .push(format!("{} requests of ordinary customers were denied", self.checks.denied));
        }
        let Flood { sent, admitted, fallback, allowed, denied, untold, .. } = self.flood;
        if denied == 0 || admitted > allowed || fallback > allowed {
            faults.push(format!(
                "of a flood of {sent} requests {admitted} were admitted, not at most {allowed}, {fallback} without Redis, and {denied} denied"
            ));
        }
        if untold > 0 {
            faults.push(format!("{untold} denials did not say when to come back"));
        }
        if self.differing > 0 {
            faults.push(format!("{} changed fares are not in the database", self.differing));
        }
        faults
    }

    /// The figures as a table.
    #[must_use]
    pub fn table(&self) -> String {
        let Self { checks, totals, warm, .. } = self;
        let saved = totals.without_cache.saturating_sub(self.queries);
        let of = |part: u64, whole: u64| percent((whole > 0).then(|| part as f64 / whole as f64));
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let mut row = |name: &str, figure: String, note: String| {
            table.add_row([name.to_owned(), figure, note]);
        };
        row(
            "requests",
            number(checks.made),
            format!(
                "{} of planned, {}/s",
                of(checks.made, checks.planned),
                number(checks.made / self.seconds.max(1))
            ),
        );
        row(
            "errors",
            number(totals.failed + checks.failed),
            format!("5xx; connections lost {}", number(checks.lost)),
        );
        row(
            "hit rate",
            percent(warm.hit_rate()),
            format!("after {} s of warm-up; requests answered without the database", self.warm_up),
        );
        row(
            "origin queries",
            number(self.queries),
            format!(
                "without cache {}; saved {} ({})",
                number(totals.without_cache),
                number(saved),
                of(saved, totals.without_cache)
            ),
        );
        row("hit p50 / p99", pair(self.latencies.hit), "in the shop".to_owned());
        row("miss p50 / p99", pair(self.latencies.miss), "in the shop".to_owned());
        row(
            "all p50 / p99",
            pair(self.whole),
            "from the planned beginning to the whole answer".to_owned(),
        );
        row(
            "fare changes",
            number(totals.changes),
            format!("all in the database: {}", if self.differing == 0 { "yes" } else { "no" }),
        );
        row(
            "fares checked",
            number(checks.right + checks.late + checks.wrong),
            format!("wrong {}", number(checks.wrong)),
        );
        let oldest = if checks.late > 0 {
            format!("up to {:.1?} old; ", checks.oldest)
        } else {
            String::new()
        };
        row(
            "late fares",
            number(checks.late),
            format!(
                "{oldest}allowed from another instance's memory for {:.0?}, after an outage for {:.0?}",
                STALENESS, self.allowed_age
            ),
        );
        row(
            "admitted",
            number(totals.admitted + totals.fallback),
            format!("{} of them without Redis", number(totals.fallback)),
        );
        row(
            "denied / shed",
            format!("{} / {}", number(totals.denied), number(totals.shed)),
            format!("of ordinary customers {} / {}", number(checks.denied), number(checks.shed)),
        );
        row(
            "flood",
            number(self.flood.sent),
            format!(
                "in {:.1} s by one client: admitted {} (at most {}) and {} without Redis, denied {}, lost {}",
                Duration::from_millis(self.flood.took_ms).as_secs_f64(),
                number(self.flood.admitted),
                number(self.flood.allowed),
                number(self.flood.fallback),
                number(self.flood.denied),
                number(self.flood.lost),
            ),
        );
        row("breaker", self.breaker.clone(), "of the database, over all instances".to_owned());
        for (instance, tiers) in self.tiers.iter().enumerate() {
            let all = tiers.memory + tiers.redis + tiers.stale + tiers.loads;
            row(
                &format!("instance {}", instance + 1),
                number(all),
                format!(
                    "lookups: memory {}, Redis {}, stale {}, loads {}",
                    of(tiers.memory, all),
                    of(tiers.redis, all),
                    of(tiers.stale, all),
                    of(tiers.loads, all),
                ),
            );
        }
        if let Some(figures) = table.column_mut(1) {
            figures.set_cell_alignment(CellAlignment::Right);
        }
        table.trim_fmt()
    }
}

fn report(app: &App, last: &Second, second: u64, seconds: u64) {
    let checks = app.progress().checks();
    let line = format!(
        "{second:>4} of {seconds} s  {:>6} requests/s  hits {:>6}  queries {:>5}/s  hit p99 {:>8}  miss p99 {:>8}  denied {:>5}/s  5xx {}  late {}  wrong {}  {:?}",
        number(last.counts.requests),
        percent(last.counts.hit_rate()),
        number(last.queries),
        micros(last.latencies.hit.p99),
        micros(last.latencies.miss.p99),
        number(last.counts.denied),
        last.counts.failed,
        checks.late,
        checks.wrong,
        last.state,
    );
    let mut out = std::io::stderr();
    let end = if out.is_terminal() { "\x1b[K\r" } else { "\n" };
    // Progress that nobody can read is no reason to end.
    drop(write!(out, "{line}{end}"));
    drop(out.flush());
}

fn pair(quantiles: Quantiles) -> String {
    format!("{} / {}", micros(quantiles.p50), micros(quantiles.p99))
}

fn micros(value: Option<u64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(us) if us < 10_000 => format!("{:.2} ms", us as f64 / 1_000.0),
        Some(us) => format!("{:.0} ms", us as f64 / 1_000.0),
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1}%", share * 100.0))
}

/// A number with its thousands apart.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
