//! What servers have written, and when: read from the files to which they append it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use russet_testkit::Server;

/// What was written for one limit: at which time, in ms from wherever, and what. A replica has what its primary has.
#[derive(Debug, Default)]
pub(super) struct Writes(BTreeSet<(u64, Vec<u8>)>);

impl Writes {
    /// When a unit was spent, each time: in order, in µs.
    pub(super) fn times(&self) -> Vec<u64> {
        self.0.iter().map(|(time, _)| 1_000 * time).collect()
    }

    /// When each unit of a queue begins, in order, in µs: that many times before the queue is as new.
    pub(super) fn begins(&self, each: Duration) -> Vec<u64> {
        let begin = |(_, state): &(u64, Vec<u8>)| {
            let arrival = f64::from_le_bytes(state[..8].try_into().unwrap()) as u64;
            arrival / 8 - u64::try_from(each.as_micros()).unwrap()
        };
        let mut begins: Vec<_> = self.0.iter().map(begin).collect();
        begins.sort_unstable();
        begins
    }

    /// What others have not.
    pub(super) fn without(&self, others: &Self) -> Self {
        Self(&self.0 - &others.0)
    }
}

/// What these servers have written, by the name of the limit.
pub(super) fn appended(servers: &[&Server]) -> BTreeMap<String, Writes> {
    let mut found = BTreeMap::<String, Writes>::new();
    for (name, command) in servers.iter().flat_map(|server| commands(server)) {
        let text = |at: usize| std::str::from_utf8(&command[at]).unwrap();
        let write = match text(0) {
            // A state, and when it ends: so long after the decision.
            "SET" if command.len() == 5 && text(3) == "PXAT" => {
                (text(4).parse().unwrap(), command[2].clone())
            }
            // A unit, by its end in ticks.
            "ZADD" if command.len() == 4 => {
                (text(2).parse::<f64>().unwrap() as u64 / 8_000, command[3].clone())
            }
            _ => continue,
        };
        found.entry(name).or_default().0.insert(write);
    }
    found
}

/// The most permits of a limit that were held at once, as the server saw it: one is held until it is given back, or for so
/// long after it was taken or renewed.
pub(super) fn held(server: &Server, name: &str, period: Duration) -> usize {
    let ticks = u64::try_from(period.as_nanos() / 125).unwrap();
    let (mut held, mut most) = (BTreeMap::<Vec<u8>, u64>::new(), 0);
    for (_, command) in commands(server).into_iter().filter(|(of, _)| of == name) {
        match &command[..] {
            [what, _, .., end, permit] if what == b"ZADD" => {
                let end = std::str::from_utf8(end).unwrap().parse::<f64>().unwrap() as u64;
                held.retain(|_, other| *other > end - ticks);
                held.insert(permit.clone(), end);
                most = most.max(held.len());
            }
            [what, _, permits @ ..] if what == b"ZREM" => {
                held.retain(|permit, _| !permits.contains(permit));
            }
            _ => {}
        }
    }
    most
}

/// What a server has written, in order: each command, and the name of the limit whose key it is on.
fn commands(server: &Server) -> Vec<(String, Vec<Vec<u8>>)> {
    let mut found = Vec::new();
    for file in files(server) {
        let bytes = std::fs::read(file).unwrap();
        let mut rest = &bytes[..];
        while let Some(command) = command(&mut rest) {
            // {prefix:p}:limit-kind.name:subject
            let key = command.get(1).and_then(|key| std::str::from_utf8(key).ok());
            let kind =
                key.and_then(|key| key.split(':').nth(2)).and_then(|kind| kind.split_once('.'));
            if let Some((_, name)) = kind {
                found.push((name.to_owned(), command));
            }
        }
    }
    found
}

fn files(server: &Server) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(server.dir().join("appendonlydir")).unwrap();
    let files = folder.map(|file| file.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|file| file.to_str().unwrap().ends_with(".incr.aof")).collect();
    files.sort();
    files
}

/// The next command; none at the end, also where that was cut off.
fn command(rest: &mut &[u8]) -> Option<Vec<Vec<u8>>> {
    let count = number(rest, b'*')?;
    let word = |_| {
        let length = usize::try_from(number(rest, b'$')?).ok()?;
        let (word, after) = (rest.get(..length)?.to_vec(), rest.get(length + 2..)?);
        *rest = after;
        Some(word)
    };
    (0..count).map(word).collect()
}

fn number(rest: &mut &[u8], sign: u8) -> Option<u64> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(rest[..end].strip_prefix(&[sign])?).ok()?;
    *rest = &rest[end + 1..];
    line.trim().parse().ok()
}
