use redis::parse_redis_value;

use super::*;

fn read(wire: &[u8]) -> Result<Value, LinkError> {
    value(parse_redis_value(wire).unwrap())
}

fn text(text: &'static str) -> Value {
    Value::Bytes(Bytes::from_static(text.as_bytes()))
}

fn refusal(wire: &[u8]) -> String {
    match read(wire) {
        Err(LinkError::Server(words)) => words,
        other => panic!("{other:?}"),
    }
}

#[test]
fn strings_of_all_kinds_are_bytes() {
    assert_eq!(read(b"+OK\r\n").unwrap(), text("OK"));
    assert_eq!(read(b"+QUEUED\r\n").unwrap(), text("QUEUED"));
    assert_eq!(read(b"$5\r\nhello\r\n").unwrap(), text("hello"));
    assert_eq!(read(b"$0\r\n\r\n").unwrap(), text(""));
    assert_eq!(read(b"=9\r\ntxt:hello\r\n").unwrap(), text("hello"));
    assert_eq!(read(b"$2\r\n\xff\x00\r\n").unwrap(), Value::Bytes(b"\xff\x00"[..].into()));
    let big = "3492890328409238509324850943850943825024385";
    assert_eq!(read(format!("({big}\r\n").as_bytes()).unwrap(), text(big));
}

#[test]
fn numbers_and_the_rest_are_what_they_are() {
    assert_eq!(read(b":-7\r\n").unwrap(), Value::Int(-7));
    assert_eq!(read(b",1.5\r\n").unwrap(), Value::Double(1.5));
    assert_eq!(read(b",-inf\r\n").unwrap(), Value::Double(f64::NEG_INFINITY));
    assert_eq!(read(b"#t\r\n").unwrap(), Value::Bool(true));
    for nil in ["_\r\n", "$-1\r\n", "*-1\r\n"] {
        assert_eq!(read(nil.as_bytes()).unwrap(), Value::Nil);
    }
}

#[test]
fn arrays_and_sets_keep_what_looks_like_pub_sub() {
    let expected = Value::Array(vec![text("message"), text("a"), Value::Int(1)]);
    for head in ["*", "~"] {
        let wire = format!("{head}3\r\n$7\r\nmessage\r\n$1\r\na\r\n:1\r\n");
        assert_eq!(read(wire.as_bytes()).unwrap(), expected);
    }
    assert_eq!(read(b"*1\r\n*0\r\n").unwrap(), Value::Array(vec![Value::Array(vec![])]));
}

#[test]
fn the_keys_of_a_map_are_strings() {
    let map = read(b"%3\r\n+a\r\n:1\r\n:2\r\n_\r\n,0.5\r\n#f\r\n").unwrap();
    let pairs = [("a", Value::Int(1)), ("2", Value::Nil), ("0.5", Value::Bool(false))];
    assert_eq!(map, Value::Map(pairs.map(|(key, value)| (text(key), value)).into()));
}

#[test]
fn attributes_are_left_out() {
    assert_eq!(read(b"|1\r\n+ttl\r\n:3600\r\n:7\r\n").unwrap(), Value::Int(7));
    let nested = b"*2\r\n|1\r\n+ttl\r\n:3600\r\n:7\r\n:8\r\n";
    assert_eq!(read(nested).unwrap(), Value::Array(vec![Value::Int(7), Value::Int(8)]));
}

#[test]
fn the_servers_words_are_not_changed() {
    for words in [
        "MOVED 5 host:7000",
        "ASK 16383 [::1]:7000",
        "NOSCRIPT No matching script. Please use EVAL.",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR",
        "ERR ",
        "ERR  two  spaces ",
        "my own words",
        "",
    ] {
        assert_eq!(refusal(format!("-{words}\r\n").as_bytes()), words);
        assert_eq!(refusal(format!("!{}\r\n{words}\r\n", words.len()).as_bytes()), words);
    }
}

#[test]
fn an_error_within_a_reply_is_the_reply() {
    assert_eq!(refusal(b"*2\r\n:1\r\n-WRONGTYPE no list\r\n"), "WRONGTYPE no list");
    assert_eq!(refusal(b"%1\r\n+a\r\n*1\r\n-ERR no\r\n"), "ERR no");
}
