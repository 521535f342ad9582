//! What the processes did and saw.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// Few, so that each is read and written by all at the same time.
pub(super) const KEYS: u64 = 60;

/// Each is that of three keys.
pub(super) const TAGS: u64 = 20;

/// What an invalidation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Key(u64),
    Tag(u64),
    All,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "k {key}"),
            Self::Tag(tag) => write!(f, "t {tag}"),
            Self::All => f.write_str("a 0"),
        }
    }
}

impl Scope {
    fn holds(self, key: u64) -> bool {
        match self {
            Self::Key(this) => key == this,
            Self::Tag(tag) => key % TAGS == tag,
            Self::All => true,
        }
    }
}

/// What is older must not be read any more.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    /// The version that was there then.
    At(u64),
    /// This version: where it is cached with the same call, and may have been followed by another by then.
    Version(u64),
}

impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(time) => write!(f, "at {time}"),
            Self::Version(version) => write!(f, "v {version}"),
        }
    }
}

/// Times are µs, the same in all processes.
#[derive(Debug, Default)]
pub(super) struct History {
    /// By key: when a version was there at the latest, in order.
    writes: HashMap<u64, Vec<(u64, u64)>>,
    invalidations: Vec<Told>,
    reads: Vec<Read>,
    failed: u64,
    failovers: u64,
    repeated: u64,
}

#[derive(Debug)]
struct Told {
    process: usize,
    scope: Scope,
    due: Due,
    acknowledged: u64,
}

#[derive(Debug)]
struct Read {
    process: usize,
    key: u64,
    version: u64,
    begun: u64,
    tier: char,
}

#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) reads: u64,
    pub(super) near: u64,
    /// Outside the windows of faults.
    pub(super) clear: u64,
    pub(super) clear_near: u64,
    pub(super) origin: u64,
    pub(super) acknowledged: u64,
    pub(super) failed: u64,
    pub(super) stale_here: u64,
    pub(super) stale_there: u64,
    /// When the last of these was read, in µs; 0: none was.
    pub(super) last_stale: u64,
    /// And the last of all.
    pub(super) last_read: u64,
    /// As the processes noticed, all together.
    pub(super) failovers: u64,
    pub(super) repeated: u64,
    pub(super) example: Option<String>,
}

impl History {
    pub(super) fn read(files: impl Iterator<Item = PathBuf>) -> Self {
        let mut history = Self::default();
        for (process, file) in files.enumerate() {
            for line in std::fs::read_to_string(file).unwrap().lines() {
                history.note(process, line);
            }
        }
        for writes in history.writes.values_mut() {
            writes.sort_unstable();
            // Versions only grow: whoever wrote a later one first has seen this one, too.
            let mut newest = 0;
            for (_, version) in writes {
                newest = newest.max(*version);
                *version = newest;
            }
        }
        history
    }

    fn note(&mut self, process: usize, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "W" => self.writes.entry(number(1)).or_default().push((number(3), number(2))),
            "R" => self.reads.push(Read {
                process,
                key: number(1),
                version: number(2),
                begun: number(3),
                tier: words[4].chars().next().unwrap(),
            }),
            "I" => {
                let scope = match words[1] {
                    "k" => Scope::Key(number(2)),
                    "t" => Scope::Tag(number(2)),
                    _ => Scope::All,
                };
                let due = match words[3] {
                    "at" => Due::At(number(4)),
                    _ => Due::Version(number(4)),
                };
                self.invalidations.push(Told { process, scope, due, acknowledged: number(5) });
            }
            "F" => self.failed += 1,
            "S" => {
                self.failovers += number(1);
                self.repeated += number(2);
            }
            other => panic!("{other}"),
        }
    }

    /// The version of a key that was there then at the latest.
    fn version(&self, key: u64, at: u64) -> u64 {
        let Some(writes) = self.writes.get(&key) else { return 0 };
        let later = writes.partition_point(|(written, _)| *written <= at);
        if later == 0 { 0 } else { writes[later - 1].1 }
    }

    pub(super) fn judge(&self, max_staleness: Duration, faults: &[Range<u64>]) -> Verdict {
        let allowed = u64::try_from(max_staleness.as_micros()).unwrap();
        // By key: from when on which version is the oldest that may be read, in which process, and in the others.
        let mut required: HashMap<u64, Vec<(u64, Option<usize>, u64)>> = HashMap::new();
        for told in &self.invalidations {
            for key in (0..KEYS).filter(|key| told.scope.holds(*key)) {
                let version = match told.due {
                    Due::At(time) => self.version(key, time),
                    Due::Version(version) => version,
                };
                let key = required.entry(key).or_default();
                key.push((told.acknowledged, Some(told.process), version));
                key.push((told.acknowledged + allowed, None, version));
            }
        }
        let mut reads: HashMap<u64, Vec<&Read>> = HashMap::new();
        for read in &self.reads {
            reads.entry(read.key).or_default().push(read);
        }
        let mut verdict = Verdict {
            reads: self.reads.len() as u64,
            acknowledged: self.invalidations.len() as u64,
            failed: self.failed,
            failovers: self.failovers,
            repeated: self.repeated,
            ..Verdict::default()
        };
        for (key, mut reads) in reads {
            reads.sort_unstable_by_key(|read| read.begun);
            let mut required = required.remove(&key).unwrap_or_default();
            required.sort_unstable();
            let mut from = required.into_iter().peekable();
            let (mut here, mut there) = (HashMap::<usize, u64>::new(), 0);
            for read in reads {
                while let Some((_, process, version)) = from.next_if(|(at, ..)| *at < read.begun) {
                    match process {
                        Some(process) => {
                            let here = here.entry(process).or_default();
                            *here = version.max(*here);
                        }
                        None => there = version.max(there),
                    }
                }
                let here = here.get(&read.process).copied().unwrap_or_default();
                verdict.last_read = verdict.last_read.max(read.begun);
                verdict.stale_here += u64::from(read.version < here);
                verdict.stale_there += u64::from(read.version < there);
                if read.version < here.max(there) {
                    verdict.last_stale = verdict.last_stale.max(read.begun);
                    let example = || format!("{read:?}, and {here} or {there} is due");
                    verdict.example.get_or_insert_with(example);
                }
                let (near, origin) = (read.tier == 'l', read.tier == 'o');
                let clear = !faults.iter().any(|window| window.contains(&read.begun));
                verdict.near += u64::from(near);
                verdict.origin += u64::from(origin);
                verdict.clear += u64::from(clear);
                verdict.clear_near += u64::from(clear && near);
            }
        }
        verdict
    }
}
