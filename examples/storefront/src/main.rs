//! The storefront's command: see the library for what it does.

mod args;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use russet_storefront::app::{App, AppError};
use russet_storefront::headless;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::Args;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("russet-storefront: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<ExitCode, AppError> {
    let mut signals = Signals::listen()?;
    let settings = args.settings();
    let (scale, redis) = (settings.products, settings.redis.clone());
    let opened = tokio::select! {
        opened = App::open(settings, move |filled| progress(filled, scale)) => opened?,
        () = signals.next() => return Ok(ExitCode::FAILURE),
    };
    let shops: Vec<String> =
        opened.addresses().map(|address| format!("http://{address}")).collect();
    eprintln!("Shop on {}  Redis at {}", shops.join(" and "), redacted(&redis));

    let mut app = opened;
    let mut summary = None;
    tokio::select! {
        () = signals.next() => {}
        done = headless::run(&mut app, args.seconds), if args.headless => summary = Some(done),
    }
    close(app, signals).await;
    Ok(match summary {
        Some(summary) => verdict(&summary),
        None if args.headless => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}

/// Ends everything in order; at once at a second signal.
async fn close(app: App, mut signals: Signals) {
    let temporary = app.temporary().map(PathBuf::from);
    tokio::select! {
        () = app.close() => {}
        () = signals.next() => {
            if let Some(folder) = temporary {
                drop(std::fs::remove_dir_all(folder));
            }
            std::process::exit(130);
        }
    }
}

fn verdict(summary: &headless::Summary) -> ExitCode {
    println!("{}", summary.table());
    let faults = summary.faults();
    if faults.is_empty() {
        println!("\nThe run was right.");
        return ExitCode::SUCCESS;
    }
    println!("\nThe run was not right:");
    for fault in faults {
        println!("- {fault}");
    }
    ExitCode::FAILURE
}

/// Tells every tenth of the way.
fn progress(filled: u32, scale: u32) {
    let step = (scale / 10).max(50_000);
    if filled.is_multiple_of(step) || filled == scale {
        let (filled, scale) = (headless::number(filled.into()), headless::number(scale.into()));
        eprintln!("Database: {filled} of {scale} products");
    }
}

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, AppError> {
        let cannot = |source| AppError::Io { what: "signals".to_owned(), source };
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(cannot)?,
            interrupt: signal(SignalKind::interrupt()).map_err(cannot)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The URL without its password.
fn redacted(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}://…{}", &url[..scheme], &url[at..]),
        _ => url.to_owned(),
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
