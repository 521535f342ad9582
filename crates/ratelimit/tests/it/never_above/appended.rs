//! What servers have written, and when: read from the files to which they append it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use russet_testkit::Server;

/// What was written for one limit: at which time, in ms from wherever, and what. A replica has what its primary has.
#[derive(Debug, Default)]
pub(super) struct Writes(BTreeSet<(u64, Vec<u8>)>);

impl Writes {
    /// When a unit was spent, each time: in order.
    pub(super) fn times(&self) -> Vec<u64> {
        self.0.iter().map(|(time, _)| *time).collect()
    }
}

/// What these servers have written, by the name of the limit.
pub(super) fn appended(servers: &[&Server]) -> BTreeMap<String, Writes> {
    let mut found = BTreeMap::<String, Writes>::new();
    for file in servers.iter().flat_map(|server| files(server)) {
        let bytes = std::fs::read(file).unwrap();
        let mut rest = &bytes[..];
        while let Some(command) = command(&mut rest) {
            let text = |at: usize| std::str::from_utf8(&command[at]).unwrap();
            let (time, what) = match text(0) {
                // A state, and when it ends: so long after the decision.
                "SET" if command.len() == 5 && text(3) == "PXAT" => {
                    (text(4).parse().unwrap(), command[2].clone())
                }
                // A unit, by its end in ticks.
                "ZADD" => (text(2).parse::<f64>().unwrap() as u64 / 8_000, command[3].clone()),
                _ => continue,
            };
            // {prefix:p}:limit-kind.name:subject
            let name = text(1).split(':').nth(2).and_then(|kind| kind.split_once('.'));
            let Some((_, name)) = name else { continue };
            found.entry(name.to_owned()).or_default().0.insert((time, what));
        }
    }
    found
}

fn files(server: &Server) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(server.dir().join("appendonlydir")).unwrap();
    let files = folder.map(|file| file.unwrap().path());
    files.filter(|file| file.to_str().unwrap().ends_with(".incr.aof")).collect()
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
