//! Rows, run pair by pair and collected.

use crate::{
    Result, Side,
    closed_loop::throughput,
    figures::{Better, Figures, Row as Measured},
};
use std::{env, io::Write, process::ExitCode, time::Duration};

/// Rounds with clients of their own: how fast one connection is depends on where its memory and its tasks happen to be.
const ROUNDS: usize = 5;
/// Pairs a round. Many and short: what else the machine does comes and goes in seconds, and then meets both sides.
const PAIRS: usize = 45;

/// A benchmark: its rows, and how long they are measured.
#[derive(Debug)]
pub struct Suite {
    url: String,
    window: Duration,
    only: Vec<String>,
    figures: Figures,
}

/// One workload, about to be run.
#[derive(Debug)]
#[must_use = "a row does nothing until it is run"]
pub struct Row<'a> {
    suite: &'a mut Suite,
    name: String,
    tasks: usize,
    floor: Option<f64>,
    better: Better,
}

impl Suite {
    /// The `main` of a benchmark. `RUSSET_BENCH_URL` names the server and `RUSSET_BENCH_OUT` the file
    /// for the figures; `RUSSET_BENCH_SECONDS` changes how long a side runs [0.05]; arguments are parts
    /// of the names of the rows to run [all].
    ///
    /// Two worker threads serve both sides, so that none has a core more than on the smallest machine.
    pub fn main(name: &str, rows: impl AsyncFn(&mut Self) -> Result) -> ExitCode {
        let run = || -> Result {
            let mut suite = Self::from_env()?;
            for round in 1..=ROUNDS {
                eprintln!("round {round} of {ROUNDS}");
                let mut runtime = tokio::runtime::Builder::new_multi_thread();
                let runtime = runtime.worker_threads(2).enable_all().build()?;
                runtime.block_on(rows(&mut suite))?;
            }
            suite.figures.print(name);
            match env::var_os("RUSSET_BENCH_OUT") {
                Some(file) => suite.figures.write(file.as_ref()),
                None => Ok(()),
            }
        };
        match run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{name}: {error}");
                ExitCode::FAILURE
            }
        }
    }

    fn from_env() -> Result<Self> {
        let url = env::var("RUSSET_BENCH_URL").map_err(|_| "RUSSET_BENCH_URL names no server")?;
        let seconds = env::var("RUSSET_BENCH_SECONDS").unwrap_or_else(|_| "0.05".to_owned());
        let window = Duration::try_from_secs_f64(seconds.parse()?)?;
        let only = env::args().skip(1).collect();
        Ok(Self { url, window, only, figures: Figures::default() })
    }

    /// Where the server is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A workload of one task, of which more is better, that is only reported.
    pub fn row(&mut self, name: impl Into<String>) -> Row<'_> {
        Row { suite: self, name: name.into(), tasks: 1, floor: None, better: Better::More }
    }
}

impl Row<'_> {
    /// How many tasks run it at once.
    pub fn tasks(mut self, tasks: usize) -> Self {
        self.tasks = tasks;
        self
    }

    /// The least ratio that will do; `None` only reports.
    pub fn floor(mut self, floor: Option<f64>) -> Self {
        self.floor = floor;
        self
    }

    /// Reports microseconds an operation, of which less is better, in place of operations a second.
    pub fn micros(mut self) -> Self {
        self.better = Better::Less;
        self
    }

    /// Runs both sides in turn; each has its name beside it.
    ///
    /// # Errors
    /// The first operation that fails, of either side.
    pub async fn run(self, ours: (&str, impl Side), other: (&str, impl Side)) -> Result {
        let Self { suite, name, tasks, floor, better } = self;
        if !suite.runs(&name) {
            return Ok(());
        }
        eprint!("{name}: {} beside {} ", ours.0, other.0);
        let warm_up = suite.window / 4;
        throughput(&ours.1, tasks, warm_up).await?;
        throughput(&other.1, tasks, warm_up).await?;
        let mut pairs = Vec::with_capacity(PAIRS);
        for pair in 0..PAIRS {
            // To be the second has an advantage, of about 1%: each is as often.
            let rates = if pair % 2 == 0 {
                let ours = throughput(&ours.1, tasks, suite.window).await?;
                [ours, throughput(&other.1, tasks, suite.window).await?]
            } else {
                let other = throughput(&other.1, tasks, suite.window).await?;
                [throughput(&ours.1, tasks, suite.window).await?, other]
            };
            pairs.push(rates.map(|rate| better.figure(rate, tasks)));
            dot()?;
        }
        suite.add(Measured { name, better, against: other.0.to_owned(), floor, pairs });
        Ok(())
    }

    /// Runs ours alone, beside a rate that was promised: the floor is 1, unless another was given.
    ///
    /// # Errors
    /// The first operation that fails.
    pub async fn run_alone(self, ours: (&str, impl Side), promised: f64) -> Result {
        let Self { suite, name, tasks, floor, better } = self;
        if !suite.runs(&name) {
            return Ok(());
        }
        eprint!("{name}: {} alone ", ours.0);
        throughput(&ours.1, tasks, suite.window / 4).await?;
        let mut pairs = Vec::with_capacity(PAIRS);
        for _ in 0..PAIRS {
            let ours = throughput(&ours.1, tasks, suite.window).await?;
            pairs.push([ours, promised].map(|rate| better.figure(rate, tasks)));
            dot()?;
        }
        let (against, floor) = (format!("{promised} a second, as promised"), floor.or(Some(1.0)));
        suite.add(Measured { name, better, against, floor, pairs });
        Ok(())
    }
}

impl Suite {
    fn runs(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| row.contains(part.as_str()))
    }

    fn add(&mut self, measured: Measured) {
        eprintln!(" {:.3}", measured.ratio());
        self.figures.add(measured);
    }
}

fn dot() -> Result {
    eprint!(".");
    Ok(std::io::stderr().flush()?)
}
