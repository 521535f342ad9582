//! `cargo xtask demo`: a real shop on a real server, from nothing to an address in one command.

mod shop;

use crate::{
    Result,
    server::{self, Wanted},
    sh,
};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use russet_testkit::Server;
use shop::{Ending, Shop};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

/// Start a server and the storefront on it, under load, and tell its address
///
/// Ctrl-C ends both, once more at once. Exit code: 0 after Ctrl-C; with --headless the storefront's
/// own (0 only if the run was right), or 130 if it was interrupted.
#[derive(Args)]
pub(crate) struct Demo {
    /// Run without a browser, print a summary, and judge the run
    #[arg(long)]
    headless: bool,
    /// How long the headless run goes on
    #[arg(long, requires = "headless", default_value_t = 30, value_name = "N")]
    seconds: u64,
    /// The server: a path, redis-7, redis-8 or valkey-9 [default: one that is here, or installed]
    #[arg(long)]
    server: Option<Wanted>,
    /// Requests a second of the load [default: the storefront's]
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Products in the shop [default: the storefront's]
    #[arg(long, value_name = "N")]
    scale: Option<u64>,
    /// The storefront's port on 127.0.0.1 [default: 4040, or a free one]
    #[arg(long)]
    port: Option<u16>,
    /// Options of the storefront itself, behind `--`
    #[arg(last = true, value_name = "OPTIONS")]
    storefront: Vec<String>,
}

const USUAL_PORT: u16 = 4040;

impl Demo {
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        let binary = server::find(self.server.as_ref().unwrap_or(&Wanted::Any))?;
        eprintln!("server: {binary} ({})", binary.path.display());
        eprintln!("storefront: building");
        sh::run(sh::cargo().args(["build", "--release", "--package", "russet-storefront"]))?;

        // Heard from here on, so that nothing that is started below outlives a signal.
        let mut interrupts = Interrupts::new()?;
        let server = Server::builder().binary(&binary.path).start().await?;
        let listen = free_address(self.port)?;
        let mut shop = Shop::open(&self.arguments(&server.url(), listen))?;
        let ending = if self.headless {
            shop.until_ended(&mut interrupts).await?
        } else {
            match self.wait_until_open(&mut shop, listen, &mut interrupts).await? {
                Some(ending) => ending,
                None => self.stay(&mut shop, listen, &mut interrupts).await?,
            }
        };
        Ok(match (ending, self.headless) {
            (Ending::Interrupted, false) => ExitCode::SUCCESS,
            (Ending::Interrupted, true) => ExitCode::from(130),
            (Ending::Itself(status), true) => {
                ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
            }
            (Ending::Itself(status), false) => {
                return Err(format!("the storefront ended by itself ({status})").into());
            }
        })
    }

    fn arguments(&self, redis: &str, listen: SocketAddr) -> Vec<String> {
        let mut arguments = vec!["--redis".to_owned(), redis.to_owned()];
        arguments.extend(["--listen".to_owned(), listen.to_string()]);
        for (name, value) in [("--rate", self.rate), ("--scale", self.scale)] {
            arguments
                .extend(value.into_iter().flat_map(|value| [name.to_owned(), value.to_string()]));
        }
        if self.headless {
            let seconds = self.seconds.to_string();
            arguments.extend(["--headless".to_owned(), "--seconds".to_owned(), seconds]);
        }
        arguments.extend(self.storefront.iter().cloned());
        arguments
    }

    /// Waits until the storefront answers; an ending if it ended before.
    async fn wait_until_open(
        &self,
        shop: &mut Shop,
        listen: SocketAddr,
        interrupts: &mut Interrupts,
    ) -> Result<Option<Ending>> {
        let spinner = spinner("filling the shop");
        let answers = async {
            while TcpStream::connect(listen).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = tokio::select! {
            () = answers => None,
            ending = shop.until_ended(interrupts) => Some(ending?),
        };
        spinner.finish_and_clear();
        Ok(ended)
    }

    /// The shop is open: tells where, and for how long it has been.
    async fn stay(
        &self,
        shop: &mut Shop,
        listen: SocketAddr,
        interrupts: &mut Interrupts,
    ) -> Result<Ending> {
        println!("\n  The shop is open:  http://{listen}/\n  Ctrl-C closes it.\n");
        let (spinner, opened) = (spinner("open"), Instant::now());
        let count = async {
            loop {
                let seconds = opened.elapsed().as_secs();
                spinner.set_message(format!("open for {}:{:02}", seconds / 60, seconds % 60));
                sleep(Duration::from_secs(1)).await;
            }
        };
        let ending = tokio::select! {
            ending = shop.until_ended(interrupts) => ending?,
            () = count => Ending::Interrupted,
        };
        spinner.finish_and_clear();
        Ok(ending)
    }
}

/// Ctrl-C and SIGTERM.
struct Interrupts {
    ctrl_c: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn new() -> Result<Self> {
        Ok(Self {
            ctrl_c: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.ctrl_c.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The port that was asked for, or the usual one, or any.
fn free_address(wanted: Option<u16>) -> Result<SocketAddr> {
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.local_addr();
    match wanted {
        Some(port) => Ok(free(port).map_err(|error| format!("port {port}: {error}"))?),
        None => Ok(free(USUAL_PORT).or_else(|_| free(0))?),
    }
}

fn spinner(message: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("  {spinner} {msg}");
    let spinner = ProgressBar::new_spinner().with_message(message);
    spinner.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_an_error_if_asked_for_and_another_is_chosen_if_not() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(free_address(Some(port)).unwrap_err().to_string().contains(&port.to_string()));
        assert_ne!(free_address(None).unwrap().port(), port);
    }
}
