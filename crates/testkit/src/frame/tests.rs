use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::Reply;

#[track_caller]
fn len(frame: &[u8]) {
    let mut more = frame.to_vec();
    more.extend_from_slice(b"+next\r\n");
    assert_eq!(Scanner::new().scan(&more).unwrap(), Some(frame.len()), "{}", frame.escape_ascii());
    let mut scanner = Scanner::new();
    for end in 0..frame.len() {
        assert_eq!(scanner.scan(&frame[..end]).unwrap(), None, "{end} of {}", frame.escape_ascii());
    }
    assert_eq!(scanner.scan(frame).unwrap(), Some(frame.len()));
}

#[test]
fn each_kind_of_frame_ends_where_it_ends() {
    for frame in [
        "+OK\r\n",
        "-ERR no\r\n",
        ":-42\r\n",
        ",1.5e3\r\n",
        "(3492890328409238509324850943850943825024385\r\n",
        "#t\r\n",
        "_\r\n",
        "$0\r\n\r\n",
        "$-1\r\n",
        "$7\r\na\r\nb\r\nc\r\n",
        "!5\r\nERR x\r\n",
        "=8\r\ntxt:some\r\n",
        "*0\r\n",
        "*-1\r\n",
        "*3\r\n:1\r\n*2\r\n$1\r\na\r\n*-1\r\n%1\r\n+k\r\n~2\r\n:1\r\n:2\r\n",
        ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n",
        "|1\r\n+ttl\r\n:3600\r\n*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n",
    ] {
        len(frame.as_bytes());
    }
}

#[test]
fn garbage_is_refused() {
    for bytes in [
        "GET x\r\n",
        "$x\r\n",
        "$-2\r\n",
        "*+1\r\n",
        "$1\r\nab\r\n",
        "$18446744073709551615\r\n",
        "*\r\n",
    ] {
        assert!(Scanner::new().scan(bytes.as_bytes()).is_err(), "{}", bytes.escape_debug());
    }
}

#[test]
fn deep_nesting_takes_no_stack() {
    let mut frame = b"*1\r\n".repeat(200_000);
    frame.extend_from_slice(b":1\r\n");
    assert_eq!(Scanner::new().scan(&frame).unwrap(), Some(frame.len()));
}

/// Any reply as a server may send it.
fn replies() -> impl Strategy<Value = Reply> {
    let text = "[ -~]{0,20}";
    let leaf = prop_oneof![
        text.prop_map(Reply::Simple),
        text.prop_map(Reply::Error),
        any::<i64>().prop_map(Reply::Int),
        // With line ends and lengths inside, which must not be taken for frames.
        vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'$'), Just(b'1')], 0..60)
            .prop_map(Reply::Bulk),
        Just(Reply::Nil),
        any::<bool>().prop_map(Reply::Bool),
        (-1e9..1e9).prop_map(Reply::Double),
        "-?[0-9]{1,40}".prop_map(Reply::BigNumber),
        vec(any::<u8>(), 0..20).prop_map(|bytes| Reply::Verbatim("txt".to_owned(), bytes)),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let pairs = vec((inner.clone(), inner.clone()), 0..4);
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Reply::Array),
            vec(inner.clone(), 0..6).prop_map(Reply::Set),
            vec(inner.clone(), 0..6).prop_map(Reply::Push),
            pairs.clone().prop_map(Reply::Map),
            (pairs, inner).prop_map(|(pairs, reply)| Reply::Attributed(pairs, Box::new(reply))),
        ]
    })
}

fn encode(reply: &Reply, out: &mut Vec<u8>) {
    let line =
        |out: &mut Vec<u8>, kind: char, text: &str| out.extend(format!("{kind}{text}\r\n").bytes());
    let pairs = |out: &mut Vec<u8>, kind: char, pairs: &[(Reply, Reply)]| {
        line(out, kind, &pairs.len().to_string());
        pairs.iter().for_each(|(key, value)| {
            encode(key, out);
            encode(value, out);
        });
    };
    match reply {
        Reply::Simple(text) => line(out, '+', text),
        Reply::Error(text) => line(out, '-', text),
        Reply::Int(n) => line(out, ':', &n.to_string()),
        Reply::Bulk(bytes) => {
            line(out, '$', &bytes.len().to_string());
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Reply::Nil => line(out, '$', "-1"),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => {
            let kind = match reply {
                Reply::Array(_) => '*',
                Reply::Set(_) => '~',
                _ => '>',
            };
            line(out, kind, &items.len().to_string());
            items.iter().for_each(|item| encode(item, out));
        }
        Reply::Map(items) => pairs(out, '%', items),
        Reply::Double(number) => line(out, ',', &number.to_string()),
        Reply::Bool(value) => line(out, '#', if *value { "t" } else { "f" }),
        Reply::BigNumber(digits) => line(out, '(', digits),
        Reply::Verbatim(format, bytes) => {
            line(out, '=', &(bytes.len() + 4).to_string());
            out.extend(format.bytes());
            out.push(b':');
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        }
        Reply::Attributed(attributes, reply) => {
            pairs(out, '|', attributes);
            encode(reply, out);
        }
    }
}

proptest! {
    #[test]
    fn frames_survive_any_cut_of_the_stream(sent in vec(replies(), 1..8), chunks in vec(1_usize..40, 1..20)) {
        let mut bytes = Vec::new();
        sent.iter().for_each(|reply| encode(reply, &mut bytes));
        let (mut scanner, mut buffer, mut found) = (Scanner::new(), Vec::new(), Vec::new());
        let (mut rest, mut sizes) = (&bytes[..], chunks.iter().cycle());
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            buffer.extend_from_slice(chunk);
            rest = later;
            while let Some(len) = scanner.scan(&buffer).unwrap() {
                let frame: Vec<u8> = buffer.drain(..len).collect();
                found.push(Reply::parse(&frame).unwrap());
            }
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(found, sent);
    }

    #[test]
    fn any_bytes_are_a_frame_or_garbage_or_too_few(bytes in vec(prop_oneof![
        any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'$'), Just(b'*'), Just(b'%'), Just(b'|'), Just(b'-'), Just(b'1'),
    ], 0..80)) {
        if let Ok(Some(len)) = Scanner::new().scan(&bytes) {
            prop_assert!(len > 0 && len <= bytes.len());
            let _ = Reply::parse(&bytes[..len]);
        }
    }
}
