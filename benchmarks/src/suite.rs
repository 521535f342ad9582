//! Rows, run pair by pair and collected.

use crate::{
    Result, Side,
    closed_loop::throughput,
    figures::{Better, Figures, Row as Measured},
};
use std::{env, fs, io::Write, process::ExitCode, time::Duration};

/// Rounds with clients of their own: how fast one connection is depends on where its memory and its tasks happen to be.
const ROUNDS: usize = 5;
/// How long a side of a row runs in a round.
const TIME: Duration = Duration::from_millis(2_250);
/// How long it runs at a time. Short: what else the machine does comes and goes in seconds, and then meets both sides.
const WINDOW: Duration = Duration::from_millis(50);

/// A benchmark: its rows, and how long they are measured.
#[derive(Debug)]
pub struct Suite {
    url: String,
    time: Duration,
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
    window: Duration,
    floor: Option<f64>,
    better: Better,
}

impl Suite {
    /// The `main` of a benchmark. `RUSSET_BENCH_URL` names the server and `RUSSET_BENCH_OUT` the file
    /// for the figures; `RUSSET_BENCH_SECONDS` changes how long a side of a row runs in each of 5 rounds
    /// [2.25]; arguments are parts of the names of the rows to run [all].
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
        let time = match env::var("RUSSET_BENCH_SECONDS") {
            Ok(seconds) => Duration::try_from_secs_f64(seconds.parse()?)?,
            Err(_) => TIME,
        };
        let only = env::args().skip(1).collect();
        Ok(Self { url, time, only, figures: Figures::default() })
    }

    /// Where the server is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A workload of one task, of which more is better, that is only reported.
    pub fn row(&mut self, name: impl Into<String>) -> Row<'_> {
        let (name, floor) = (name.into(), None);
        Row { suite: self, name, tasks: 1, window: WINDOW, floor, better: Better::More }
    }
}

impl Row<'_> {
    /// How many tasks run it at once.
    pub fn tasks(mut self, tasks: usize) -> Self {
        self.tasks = tasks;
        self
    }

    /// How long a side runs at a time [50 ms]: long beside what it takes all tasks to begin.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
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

    /// Reports nanoseconds an operation: for what waits for nothing.
    pub fn nanos(mut self) -> Self {
        self.better = Better::Shorter;
        self
    }

    /// How many windows go into the time.
    fn pairs(&self) -> usize {
        (self.suite.time.as_secs_f64() / self.window.as_secs_f64()).round().max(1.0) as usize
    }

    /// Runs both sides in turn; each has its name beside it.
    ///
    /// # Errors
    /// The first operation that fails, of either side.
    pub async fn run(self, ours: (&str, impl Side), other: (&str, impl Side)) -> Result {
        let pairs = self.pairs();
        let Self { suite, name, tasks, window, floor, better } = self;
        if !suite.runs(&name) {
            return Ok(());
        }
        eprint!("{name}: {} beside {} ", ours.0, other.0);
        let warm_up = window / 4;
        throughput(&ours.1, tasks, warm_up).await?;
        throughput(&other.1, tasks, warm_up).await?;
        let mut figures = Vec::with_capacity(pairs);
        for pair in 0..pairs {
            // To be the second has an advantage, of about 1%: each is as often.
            let rates = if pair % 2 == 0 {
                let ours = throughput(&ours.1, tasks, window).await?;
                [ours, throughput(&other.1, tasks, window).await?]
            } else {
                let other = throughput(&other.1, tasks, window).await?;
                [throughput(&ours.1, tasks, window).await?, other]
            };
            figures.push(rates.map(|rate| better.figure(rate, tasks)));
            dot()?;
        }
        suite.add(Measured { name, better, against: other.0.to_owned(), floor, pairs: figures });
        Ok(())
    }

    /// Runs ours in turn with something that runs elsewhere, for as long as it is told, and says its operations a second.
    ///
    /// # Errors
    /// The first operation that fails, of either side.
    pub async fn run_beside(
        self,
        ours: (&str, impl Side),
        other: (&str, impl AsyncFn(Duration) -> Result<f64>),
    ) -> Result {
        let pairs = self.pairs();
        let Self { suite, name, tasks, window, floor, better } = self;
        if !suite.runs(&name) {
            return Ok(());
        }
        eprint!("{name}: {} beside {} ", ours.0, other.0);
        throughput(&ours.1, tasks, window).await?;
        other.1(window).await?;
        let mut figures = Vec::with_capacity(pairs);
        for _ in 0..pairs {
            let rates = [throughput(&ours.1, tasks, window).await?, other.1(window).await?];
            figures.push(rates.map(|rate| better.figure(rate, tasks)));
            dot()?;
        }
        suite.add(Measured { name, better, against: other.0.to_owned(), floor, pairs: figures });
        Ok(())
    }

    /// Runs ours alone, beside a rate that was promised: the floor is 1, unless another was given.
    ///
    /// # Errors
    /// The first operation that fails.
    pub async fn run_alone(self, ours: (&str, impl Side), promised: f64) -> Result {
        let pairs = self.pairs();
        let Self { suite, name, tasks, window, floor, better } = self;
        if !suite.runs(&name) {
            return Ok(());
        }
        eprint!("{name}: {} alone ", ours.0);
        throughput(&ours.1, tasks, window / 4).await?;
        let mut figures = Vec::with_capacity(pairs);
        for _ in 0..pairs {
            let ours = throughput(&ours.1, tasks, window).await?;
            figures.push([ours, promised].map(|rate| better.figure(rate, tasks)));
            dot()?;
        }
        let (against, floor) = (format!("{promised} a second, as promised"), floor.or(Some(1.0)));
        suite.add(Measured { name, better, against, floor, pairs: figures });
        Ok(())
    }
}

impl Suite {
    /// A row of figures in KiB that were measured otherwise; `pairs` of ours and the other's.
    pub fn memory(&mut self, name: &str, against: &str, pairs: Vec<[f64; 2]>) {
        eprint!("{name}: ours beside {against}");
        let (name, against) = (name.to_owned(), against.to_owned());
        self.add(Measured { name, better: Better::Smaller, against, floor: None, pairs });
    }

    /// A row of microseconds that were measured otherwise; `pairs` of ours and the other's.
    pub fn micros(&mut self, name: &str, against: &str, floor: Option<f64>, pairs: Vec<[f64; 2]>) {
        eprint!("{name}: ours beside {against}");
        let (name, against) = (name.to_owned(), against.to_owned());
        self.add(Measured { name, better: Better::Less, against, floor, pairs });
    }

    /// Whether this row was asked for.
    #[must_use]
    pub fn runs(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| row.contains(part.as_str()))
    }

    fn add(&mut self, measured: Measured) {
        eprintln!(" {:.3}", measured.ratio());
        self.figures.add(measured);
    }
}

/// This process's memory, in KiB.
///
/// # Errors
/// Where the system does not say.
pub fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("no VmRSS")?.parse()?)
}

fn dot() -> Result {
    eprint!(".");
    Ok(std::io::stderr().flush()?)
}
