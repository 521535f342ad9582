//! Commands as fred takes them.
//!
//! The hot ones go by its typed calls, because it flushes its socket after every custom command; the rest go as custom
//! commands.

use ::fred::error::Error as FredError;
use ::fred::interfaces::{
    ClientLike, HashesInterface, KeysInterface, ListInterface, SetsInterface, SortedSetsInterface,
};
use ::fred::types::{ClusterHash, CustomCommand, Expiration, Key as FredKey, Value as FredValue};
use bytes::Bytes;

use crate::cmd::Cmd;
use crate::table::{Hot, Route};

/// By fred's typed calls, where the arguments are of the common form.
pub(super) async fn run<C>(client: &C, cmd: &Cmd) -> Result<FredValue, FredError>
where
    C: ClientLike
        + HashesInterface
        + KeysInterface
        + ListInterface
        + SetsInterface
        + SortedSetsInterface
        + Sync,
{
    let Route::Hot(hot) = cmd.route() else {
        let (command, args) = custom(cmd);
        return client.custom(command, args).await;
    };
    match (hot, cmd.arguments()) {
        (Hot::Get, [key]) => client.get(key.clone()).await,
        (Hot::Set, [key, value]) => {
            client.set(key.clone(), fred_value(value), None, None, false).await
        }
        (Hot::Set, [key, value, px, millis]) if px == "PX" && integer(millis).is_some() => {
            let expiry = integer(millis).map(Expiration::PX);
            client.set(key.clone(), fred_value(value), expiry, None, false).await
        }
        (Hot::Del, keys @ [_, ..]) => client.del(fred_keys(keys)).await,
        (Hot::Unlink, keys @ [_, ..]) => client.unlink(fred_keys(keys)).await,
        (Hot::Exists, keys @ [_, ..]) => client.exists(fred_keys(keys)).await,
        (Hot::Incr, [key]) => client.incr(key.clone()).await,
        (Hot::Decr, [key]) => client.decr(key.clone()).await,
        (Hot::IncrBy, [key, by]) if integer(by).is_some() => {
            client.incr_by(key.clone(), integer(by).unwrap_or_default()).await
        }
        (Hot::PExpire, [key, millis]) if integer(millis).is_some() => {
            client.pexpire(key.clone(), integer(millis).unwrap_or_default(), None).await
        }
        (Hot::PTtl, [key]) => client.pttl(key.clone()).await,
        (Hot::HGet, [key, field]) => client.hget(key.clone(), field.clone()).await,
        (Hot::HSet, [key, field, value]) => {
            client.hset(key.clone(), (FredKey::from(field.clone()), fred_value(value))).await
        }
        (Hot::HDel, [key, fields @ ..]) if !fields.is_empty() => {
            client.hdel(key.clone(), fred_keys(fields)).await
        }
        (Hot::HIncrBy, [key, field, by]) if integer(by).is_some() => {
            client.hincrby(key.clone(), field.clone(), integer(by).unwrap_or_default()).await
        }
        (Hot::SAdd, [key, members @ ..]) if !members.is_empty() => {
            client.sadd(key.clone(), fred_values(members)).await
        }
        (Hot::SRem, [key, members @ ..]) if !members.is_empty() => {
            client.srem(key.clone(), fred_values(members)).await
        }
        (Hot::SIsMember, [key, member]) => client.sismember(key.clone(), fred_value(member)).await,
        (Hot::ZScore, [key, member]) => client.zscore(key.clone(), fred_value(member)).await,
        (Hot::LPush, [key, items @ ..]) if !items.is_empty() => {
            client.lpush(key.clone(), fred_values(items)).await
        }
        (Hot::RPush, [key, items @ ..]) if !items.is_empty() => {
            client.rpush(key.clone(), fred_values(items)).await
        }
        _ => {
            let (command, args) = custom(cmd);
            client.custom(command, args).await
        }
    }
}

fn custom(cmd: &Cmd) -> (CustomCommand, Vec<FredValue>) {
    // The server wants the two words of `CONFIG GET` as two arguments.
    let (name, subcommand) = match cmd.name().split_once(' ') {
        Some((name, subcommand)) => (name, Some(FredValue::from_static_str(subcommand))),
        None => (cmd.name(), None),
    };
    let args = subcommand.into_iter().chain(cmd.arguments().iter().map(fred_value)).collect();
    (CustomCommand::new_static(name, ClusterHash::FirstKey, false), args)
}

pub(super) fn fred_value(bytes: &Bytes) -> FredValue {
    FredValue::Bytes(bytes.clone())
}

fn fred_values(args: &[Bytes]) -> Vec<FredValue> {
    args.iter().map(fred_value).collect()
}

fn fred_keys(keys: &[Bytes]) -> Vec<FredKey> {
    keys.iter().map(|key| FredKey::from(key.clone())).collect()
}

/// An argument that is an integer and that fred would send as the same bytes.
pub(super) fn integer(arg: &Bytes) -> Option<i64> {
    // `i64::MIN` has 20 characters: nothing larger is looked at.
    let text = (arg.len() <= 20).then(|| std::str::from_utf8(arg).ok())??;
    let number: i64 = text.parse().ok()?;
    (itoa::Buffer::new().format(number).as_bytes() == arg).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_what_fred_would_send_as_the_same_bytes() {
        for number in [0, 7, -7, 60_000, i64::MAX, i64::MIN] {
            assert_eq!(integer(&number.to_string().into()), Some(number));
        }
        for text in ["", "-", "-0", "+7", "007", "7 ", "7.0", "1e3", "9223372036854775808"] {
            assert_eq!(integer(&text.into()), None, "{text}");
        }
        assert_eq!(integer(&vec![b'7'; 1 << 20].into()), None);
    }
}
