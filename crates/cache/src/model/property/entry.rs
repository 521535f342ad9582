//! One call on an entry, there and in the model.

use bytes::Bytes;
use proptest::test_runner::TestCaseResult;
use russet_core_conn::{Cmd, Key, Redis, ScriptCall};

use super::step::OfEntry;
use super::{CLAIM, EXPIRE, FILL, Model, READ, RELEASE, RENEW, Real, SEIZE, Time, UPDATE, same};
use crate::scripts::{Answer, Claimed, Stands, millis};

pub(super) async fn agree(
    real: &Real,
    model: &mut Model,
    now: Time,
    key: &Key,
    call: OfEntry,
) -> TestCaseResult {
    let (redis, channel, at) = (&real.redis, &real.channel, now.0);
    match call {
        OfEntry::Get => {
            let found: Option<Bytes> = real.run(Cmd::read("GET").key(key)).await;
            same(&model.get(now, key), &found)
        }
        OfEntry::Set(bytes, ttl) => {
            model.set(now, key, &bytes, ttl);
            let set = Cmd::idempotent("SET").key(key).arg(bytes).arg("PXAT");
            let _: () = real.run(set.arg(at / 1_000 + millis(ttl))).await;
            Ok(())
        }
        OfEntry::Unlink => {
            let gone: u64 = real.run(Cmd::idempotent("UNLINK").key(key)).await;
            same(&model.unlink(now, key), &(gone == 1))
        }
        OfEntry::Read => same(
            &model.read(now, key),
            &redis.script::<Stands>(READ.key(key).arg(at)).await.unwrap(),
        ),
        OfEntry::Claim(token, lease, due, bad) => {
            let call = CLAIM.key(key).arg(token.0.clone()).arg(millis(lease));
            let call = call.arg(due.ahead).arg(due.roll).arg(bad.to_arg()).arg(at);
            let expected = model.claim(now, key, &token, lease, due, &bad);
            same(&expected, &redis.script::<Claimed>(call).await.unwrap())
        }
        OfEntry::Fill(token, fill) => {
            let call = FILL.key(key).arg(token.clone().map_or_else(Bytes::new, |token| token.0));
            let call = call.arg(fill.payload.clone()).arg(millis(fill.ttl)).arg(millis(fill.grace));
            let call = call.arg(u8::from(fill.timed)).arg(millis(fill.took));
            let expected = model.fill(now, key, token.as_ref(), &fill, channel);
            same(&expected, &yes(redis, call.arg(channel.to_bytes()).arg(at)).await)
        }
        OfEntry::Renew(token, lease) => {
            let call = RENEW.key(key).arg(token.0.clone()).arg(millis(lease)).arg(at);
            same(&model.renew(now, key, &token, lease), &yes(redis, call).await)
        }
        OfEntry::Release(token, pause) => {
            let call = RELEASE.key(key).arg(token.0.clone()).arg(millis(pause));
            let call = call.arg(channel.to_bytes()).arg(at);
            same(&model.release(now, key, &token, pause, channel), &yes(redis, call).await)
        }
        OfEntry::Seize(token, lease) => {
            let call = SEIZE.key(key).arg(token.0.clone()).arg(millis(lease)).arg(at);
            same(&model.seize(now, key, &token, lease), &yes(redis, call).await)
        }
        OfEntry::Update(version, fill) => {
            let call = UPDATE.key(key).arg(version.to_be_bytes().to_vec());
            let call = call.arg(fill.payload.clone()).arg(millis(fill.ttl)).arg(millis(fill.grace));
            let call = call.arg(u8::from(fill.timed)).arg(channel.to_bytes()).arg(at);
            same(&model.update(now, key, version, &fill, channel), &yes(redis, call).await)
        }
        OfEntry::Expire => {
            same(&model.expire(now, key), &yes(redis, EXPIRE.key(key).arg(at)).await)
        }
    }
}

async fn yes(redis: &Redis, call: ScriptCall<'_>) -> bool {
    redis.script::<Answer>(call).await.unwrap().status == 1
}
