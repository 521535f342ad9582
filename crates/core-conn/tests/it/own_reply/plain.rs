//! One text for a reply, whoever read it.

use russet_core_conn::Value;
use russet_testkit::Reply;

use super::rows::WORDS;

/// A reply as the core gives it.
pub(super) fn plain(value: &Value, mark: Option<char>) -> String {
    match value {
        Value::Nil => "nil".into(),
        Value::Int(n) => scalar(n.to_string(), mark),
        Value::Double(n) => scalar(n.to_string(), mark),
        Value::Bool(yes) => yes.to_string(),
        Value::Bytes(bytes) => text(bytes, mark),
        Value::Array(items) => array(items.iter().map(|item| plain(item, mark)), mark),
        Value::Map(pairs) => {
            map(pairs.iter().map(|(key, value)| (plain(key, mark), plain(value, mark))))
        }
        other => panic!("{other:?}"),
    }
}

/// A reply as it came over the wire.
pub(super) fn plain_reply(reply: &Reply, mark: Option<char>) -> String {
    match reply {
        Reply::Nil => "nil".into(),
        Reply::Int(n) => scalar(n.to_string(), mark),
        Reply::Double(n) => scalar(n.to_string(), mark),
        Reply::Bool(yes) => yes.to_string(),
        Reply::Simple(simple) => text(simple.as_bytes(), mark),
        Reply::Bulk(bytes) | Reply::Verbatim(_, bytes) => text(bytes, mark),
        Reply::Array(items) => array(items.iter().map(|item| plain_reply(item, mark)), mark),
        // fred keeps no order of it.
        Reply::Set(items) => array(items.iter().map(|item| plain_reply(item, mark)), Some('%')),
        Reply::Map(pairs) => {
            map(pairs.iter().map(|(key, value)| (plain_reply(key, mark), plain_reply(value, mark))))
        }
        other => panic!("{other:?}"),
    }
}

/// Whether fred would take this reply for pub/sub if it came as it is; of one in any order, whether it might.
pub(super) fn looks_like_pubsub(reply: &Reply, mark: Option<char>) -> bool {
    let Reply::Array(items) = reply else { return false };
    let turned = |by: usize| [&items[by..], &items[..by]].concat();
    let orders = if mark == Some('%') { items.len() } else { 1 };
    (0..orders).any(|by| is_taken(&turned(by)))
}

fn is_taken(items: &[Reply]) -> bool {
    let word = |at: usize| items.get(at).and_then(Reply::text).unwrap_or_default();
    match (word(0), word(1), items.len()) {
        ("message" | "smessage", _, 3) | ("pmessage", _, 4) => true,
        ("pubsub", "message" | "smessage", 4) | ("pubsub", "pmessage", 5) => true,
        (first, _, 3 | 4) if WORDS[3..].contains(&first) => true,
        ("pubsub", second, 3 | 4) => WORDS[3..].contains(&second),
        _ => false,
    }
}

fn scalar(text: String, mark: Option<char>) -> String {
    if mark == Some('~') { "number".into() } else { text }
}

fn text(bytes: &[u8], mark: Option<char>) -> String {
    let text = String::from_utf8_lossy(bytes);
    if mark == Some('~') && text.parse::<f64>().is_ok() {
        "number".into()
    } else {
        format!("{text:?}")
    }
}

fn array(items: impl Iterator<Item = String>, mark: Option<char>) -> String {
    let mut items: Vec<_> = items.collect();
    if mark == Some('%') {
        items.sort();
    }
    format!("[{}]", items.join(", "))
}

fn map(pairs: impl Iterator<Item = (String, String)>) -> String {
    let mut pairs: Vec<_> = pairs.map(|(key, value)| format!("{key}: {value}")).collect();
    pairs.sort();
    format!("{{{}}}", pairs.join(", "))
}
