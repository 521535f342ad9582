//! What is there in the end.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::test_runner::TestCaseResult;
use russet_core_conn::{Cmd, Key};

use super::{Model, Real, Time, same};
use crate::model::journal::Journal;
use crate::scripts::journal::{Entry, State};

pub(super) async fn agree(real: &Real, model: &mut Model, now: Time) -> TestCaseResult {
    for key in &real.entries {
        real.end(key, now).await;
        let bytes: Option<Bytes> = real.run(Cmd::read("GET").key(key)).await;
        let ends: i64 = real.run(Cmd::read("PEXPIRETIME").key(key)).await;
        let found = bytes.map(|bytes| (bytes, ends));
        let expected = model.there(now.millis(), key);
        let expected = expected.map(|kept| (kept.held.to_bytes(), kept.until.cast_signed()));
        same(&expected, &found)?;
    }
    if let Some(expected) = model.journals.get(&real.journal.keys[0]) {
        same(expected, &journal(real).await)?;
    }
    for channel in [&real.channel, &real.journal.channel] {
        let told = model.told.iter().filter(|(to, _)| to == channel);
        let expected: Vec<Bytes> = told.map(|(_, message)| message.clone()).collect();
        same(&expected, &all(real, channel).await)?;
    }
    Ok(())
}

async fn all(real: &Real, list: &Key) -> Vec<Bytes> {
    real.run(Cmd::read("LRANGE").key(list).arg(0).arg(-1)).await
}

type Counts = (u64, u64, Option<u64>, Option<u64>);

async fn journal(real: &Real) -> Journal {
    let [journal, tags, log] = &real.journal.keys;
    let fields = ["incarnation", "clock", "floor", "forgotten"];
    let fields = fields.into_iter().fold(Cmd::read("HMGET").key(journal), Cmd::arg);
    let (incarnation, version, floor, forgotten) = real.run::<Counts>(fields).await;
    let zrange = Cmd::read("ZRANGE").key(tags).arg(0).arg(-1).arg("WITHSCORES");
    let ranks: Vec<String> = real.run(zrange).await;
    let tags: BTreeMap<Bytes, u64> = ranks
        .chunks_exact(2)
        .map(|pair| (pair[0].clone().into(), pair[1].parse().unwrap()))
        .collect();
    let entries: Vec<Entry> = real.run(Cmd::read("XRANGE").key(log).arg("-").arg("+")).await;
    let fields: Vec<(Bytes, Vec<Bytes>)> =
        real.run(Cmd::read("XRANGE").key(log).arg("-").arg("+")).await;
    let before = fields.iter().map(|(_, fields)| std::str::from_utf8(&fields[1]).unwrap().parse());
    let log = before.map(Result::unwrap).zip(entries).collect();
    let [floor, forgotten] = [floor, forgotten].map(Option::unwrap_or_default);
    let state = State { incarnation, version, floor, forgotten };
    Journal { state, tags, log }
}
