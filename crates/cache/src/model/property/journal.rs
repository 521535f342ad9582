//! One call on the journal, there and in the model.

use bytes::Bytes;
use proptest::test_runner::{TestCaseError, TestCaseResult};
use russet_core_conn::{Script, ScriptCall};

use super::{BOUNDS, Model, Real, SINCE, TAGS, Time, WRITE, same};
use crate::invalidation::What;
use crate::scripts::Answer;
use crate::scripts::journal::{Since, Tags};

/// An incarnation and a version.
type Place = (u64, u64);

fn call<'a>(real: &Real, script: &'a Script) -> ScriptCall<'a> {
    let [journal, tags, log] = &real.journal.keys;
    script.key(journal).key(tags).key(log)
}

pub(super) async fn write(
    real: &Real,
    model: &mut Model,
    now: Time,
    incarnation: u64,
    what: What,
    of: &[Bytes],
) -> Result<Place, TestCaseError> {
    let by = Bytes::from_static(b"writer");
    let told = (&by, what, of);
    let expected = model.journal_write(now, &real.journal, incarnation, BOUNDS, told);
    let call = call(real, &WRITE).arg(incarnation).arg(BOUNDS.log).arg(BOUNDS.tags);
    let call = call.arg(real.journal.channel.to_bytes()).arg(by).arg(what.word());
    let call = call.args(of.iter().cloned()).arg(now.0);
    let mut answer: Answer = real.redis.script(call).await.unwrap();
    let found = [(); 3].map(|()| answer.next::<u64>().unwrap());
    same(&[expected.incarnation, expected.version, expected.before], &found)?;
    Ok((expected.incarnation, expected.version))
}

pub(super) async fn read(
    real: &Real,
    model: &mut Model,
    now: Time,
    incarnation: u64,
    known: Place,
    most: usize,
) -> Result<Place, TestCaseError> {
    let expected = model.journal_read(now, &real.journal, incarnation, known, most);
    let call = call(real, &SINCE).arg(incarnation).arg(known.0).arg(known.1).arg(most);
    same(&expected, &real.redis.script::<Since>(call.arg(now.0)).await.unwrap())?;
    Ok((expected.state.incarnation, expected.state.version))
}

pub(super) async fn tags(real: &Real, model: &Model, now: Time, tags: &[Bytes]) -> TestCaseResult {
    let call = call(real, &TAGS).args(tags.iter().cloned()).arg(now.0);
    let found = real.redis.script::<Tags>(call).await.unwrap();
    same(&model.journal_tags(&real.journal, tags), &found)
}
