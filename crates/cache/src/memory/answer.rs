//! Commands and scripts as a server is told them, and its replies, by the model.

use std::time::Duration;

use bytes::Bytes;
use russet_core_conn::{Key, Value};

use crate::invalidation::What;
use crate::model::{Bounds, Model, Time};
use crate::scripts::journal::{Entry, JournalKeys, Since, State, Tags};
use crate::scripts::{Bad, Claimed, Due, Fill, Stands, Times, Token};

/// `None` for what it does not know.
pub(super) fn command(model: &mut Model, now: Time, name: &str, args: &[Bytes]) -> Option<Value> {
    let (key, rest) = args.split_first()?;
    let key = Key::raw(key.clone());
    Some(match (name, rest) {
        ("GET", []) => model.get(now, &key).map_or(Value::Nil, Value::Bytes),
        ("SET", [bytes, px, ttl]) if *px == "PX" => {
            model.set(now, &key, bytes, Duration::from_millis(number(ttl)?));
            Value::Bytes("OK".into())
        }
        ("UNLINK", []) => Value::Int(model.unlink(now, &key).into()),
        _ => return None,
    })
}

/// `None` for what it does not know.
pub(super) fn script(
    model: &mut Model,
    now: Time,
    name: &str,
    keys: &[Key],
    args: &[Bytes],
) -> Option<Value> {
    let key = keys.first()?;
    let yes = |done: bool| status(done.into(), []);
    Some(match (name, args) {
        ("cache_read", []) => stands(model.read(now, key)),
        ("cache_claim", [token, lease, ahead, roll, bad]) => {
            let due = Due { ahead: number(ahead)?, roll: number(roll)? };
            claimed(model.claim(now, key, &Token(token.clone()), time(lease)?, due, &as_bad(bad)))
        }
        ("cache_fill", [token, payload, ttl, grace, timed, took, channel]) => {
            let token = (!token.is_empty()).then(|| Token(token.clone()));
            let fill = Fill { took: time(took)?, ..filled(payload, ttl, grace, timed)? };
            yes(model.fill(now, key, token.as_ref(), &fill, &Key::raw(channel.clone())))
        }
        ("cache_renew", [token, lease]) => {
            yes(model.renew(now, key, &Token(token.clone()), time(lease)?))
        }
        ("cache_release", [token, pause, channel]) => {
            let (token, channel) = (Token(token.clone()), Key::raw(channel.clone()));
            yes(model.release(now, key, &token, time(pause)?, &channel))
        }
        ("cache_seize", [token, lease]) => {
            yes(model.seize(now, key, &Token(token.clone()), time(lease)?))
        }
        ("cache_update", [version, payload, ttl, grace, timed, channel]) => {
            let version = u64::from_be_bytes(version.as_ref().try_into().ok()?);
            let fill = filled(payload, ttl, grace, timed)?;
            yes(model.update(now, key, version, &fill, &Key::raw(channel.clone())))
        }
        ("cache_expire", []) => yes(model.expire(now, key)),
        ("cache_journal_write", [new, log, tags, channel, by, what, of @ ..]) => {
            let keys = journal(keys, channel)?;
            let bounds = Bounds { log: size(log)?, tags: size(tags)? };
            let told = (by, What::of_word(what).ok()?, of);
            let written = model.journal_write(now, &keys, number(new)?, bounds, told);
            let numbers = [written.incarnation, written.version, written.before];
            status(1, numbers.map(int))
        }
        ("cache_journal_read", [new, incarnation, version, most]) => {
            let keys = journal(keys, &Bytes::new())?;
            // An incarnation that is none is that of nobody.
            let known = (number(incarnation).unwrap_or(0), number(version)?);
            since(model.journal_read(now, &keys, number(new)?, known, size(most)?))
        }
        ("cache_journal_tags", of) => {
            let Tags { incarnation, forgotten, versions } =
                model.journal_tags(&journal(keys, &Bytes::new())?, of);
            match incarnation {
                0 => status(1, []),
                incarnation => {
                    let versions = Value::Array(versions.into_iter().map(int).collect());
                    status(0, [int(incarnation), int(forgotten), versions])
                }
            }
        }
        _ => return None,
    })
}

fn stands(stands: Stands) -> Value {
    match stands {
        Stands::Fresh(payload) => status(0, [Value::Bytes(payload)]),
        Stands::Stale(payload) => status(1, [Value::Bytes(payload)]),
        Stands::Not => status(2, []),
    }
}

fn claimed(claimed: Claimed) -> Value {
    let millis = |time: Duration| int(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    match claimed {
        Claimed::Fresh { payload, times: Times { left, ttl, took } } => {
            status(0, [Value::Bytes(payload), millis(left), millis(ttl), millis(took)])
        }
        Claimed::Due { payload } => status(1, [Value::Bytes(payload)]),
        Claimed::Leads { stale: None } => status(2, []),
        Claimed::Leads { stale: Some(payload) } => status(3, [Value::Bytes(payload)]),
        Claimed::Waits { stale: None, left } => status(4, [millis(left)]),
        Claimed::Waits { stale: Some(payload), left } => {
            status(5, [Value::Bytes(payload), millis(left)])
        }
        Claimed::Rests { stale } => status(6, [Value::Bytes(stale)]),
    }
}

fn since(since: Since) -> Value {
    let State { incarnation, version, floor, forgotten } = since.state;
    let state = Value::Array([incarnation, version, floor, forgotten].map(int).into());
    match since.entries {
        None => status(1, [state]),
        Some(entries) => {
            let entries = Value::Array(entries.into_iter().map(entry).collect());
            status(0, [state, entries])
        }
    }
}

/// As the log has it.
fn entry(Entry { version, by, what, of }: Entry) -> Value {
    let pairs = [("before", Bytes::new()), ("by", by), ("what", what.word().into())];
    let pairs = pairs.into_iter().chain(of.into_iter().map(|of| ("of", of)));
    let fields = pairs.flat_map(|(field, value)| [field.into(), value].map(Value::Bytes));
    let id = Value::Bytes(format!("{version}-0").into());
    Value::Array(vec![id, Value::Array(fields.collect())])
}

fn status<const N: usize>(status: i64, rest: [Value; N]) -> Value {
    Value::Array([Value::Int(status)].into_iter().chain(rest).collect())
}

fn int(number: u64) -> Value {
    Value::Int(number.cast_signed())
}

fn as_bad(arg: &Bytes) -> Bad {
    match arg.first() {
        None => Bad::Nothing,
        Some(b'=') => Bad::Unreadable(arg.slice(1..)),
        Some(b'^') => Bad::Invalid(arg.slice(1..)),
        Some(_) => Bad::Type,
    }
}

fn filled(payload: &Bytes, ttl: &Bytes, grace: &Bytes, timed: &Bytes) -> Option<Fill> {
    let (ttl, grace, timed) = (time(ttl)?, time(grace)?, timed == "1");
    Some(Fill { payload: payload.clone(), seal: None, ttl, grace, timed, took: Duration::ZERO })
}

fn journal(keys: &[Key], channel: &Bytes) -> Option<JournalKeys> {
    let keys = <[Key; 3]>::try_from(keys.to_vec()).ok()?;
    Some(JournalKeys { keys, channel: Key::raw(channel.clone()) })
}

fn number(arg: &Bytes) -> Option<u64> {
    std::str::from_utf8(arg).ok()?.parse().ok()
}

fn size(arg: &Bytes) -> Option<usize> {
    number(arg).and_then(|number| usize::try_from(number).ok())
}

fn time(arg: &Bytes) -> Option<Duration> {
    number(arg).map(Duration::from_millis)
}
