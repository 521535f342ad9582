use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Takes frames off a stream that comes in pieces, and says what they are.
struct Reader {
    decoder: Decoder,
    buffer: Vec<u8>,
    most: usize,
}

impl Reader {
    fn new(max: usize) -> Self {
        Self { decoder: Decoder::new(max), buffer: Vec::new(), most: 0 }
    }

    fn read(&mut self, piece: &[u8]) -> Result<Vec<String>, Malformed> {
        self.buffer.extend_from_slice(piece);
        let mut frames = Vec::new();
        loop {
            let (passed, over) = self.decoder.pass(&self.buffer)?;
            self.buffer.drain(..passed);
            if !over || self.buffer.is_empty() {
                break;
            }
            let Some((frame, taken)) = self.decoder.decode(&self.buffer)? else { break };
            frames.push(format!("{frame:?}"));
            self.buffer.drain(..taken);
        }
        self.most = self.most.max(self.buffer.len());
        Ok(frames)
    }
}

fn frames(bytes: &[u8]) -> Result<Vec<String>, Malformed> {
    Reader::new(64).read(bytes)
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn push(parts: &[&[u8]]) -> Vec<u8> {
    let head = format!(">{}\r\n", parts.len());
    parts.iter().fold(head.into_bytes(), |all, part| [all, bulk(part)].concat())
}

#[test]
fn frames_are_told_apart() {
    let said = [
        push(&[b"message", b"news", b"subscribe"]),
        push(&[b"pmessage", b"n*", b"news", b""]),
        push(&[b"smessage", b"\0\r\n", b"\xff\r\n$3\r\n"]),
        b">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n".to_vec(),
        b">3\r\n$12\r\npunsubscribe\r\n$2\r\nn*\r\n:0\r\n".to_vec(),
        b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n".to_vec(),
        b"+PONG\r\n-ERR no\r\n$5\r\nnonce\r\n=7\r\ntxt:a=b\r\n!5\r\nERR x\r\n".to_vec(),
        b"_\r\n$-1\r\n:7\r\n#t\r\n,1.5\r\n(12\r\n*-1\r\n~0\r\n".to_vec(),
        b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nmodules\r\n*1\r\n%1\r\n+a\r\n*0\r\n".to_vec(),
        b"+after\r\n".to_vec(),
    ];
    let found = frames(&said.concat()).unwrap();
    let message = |kind, topic: &[u8], channel: &[u8], payload: &[u8]| {
        format!("{:?}", Frame::Message { kind, topic, channel, payload })
    };
    let text = |text: &str| format!("{:?}", Frame::Text(text.as_bytes()));
    let mut expected = vec![
        message(Kind::Channel, b"news", b"news", b"subscribe"),
        message(Kind::Pattern, b"n*", b"news", b""),
        message(Kind::Sharded, b"\0\r\n", b"\0\r\n", b"\xff\r\n$3\r\n"),
        format!("{:?}", Frame::Subscribed(Kind::Channel, b"news")),
        format!("{:?}", Frame::Unsubscribed(Kind::Pattern, b"n*")),
        "Push".to_owned(),
        text("PONG"),
        format!("{:?}", Frame::Error(b"ERR no")),
        text("nonce"),
        text("a=b"),
        format!("{:?}", Frame::Error(b"ERR x")),
    ];
    expected.extend(vec!["Reply".to_owned(); 9]);
    expected.push(text("after"));
    assert_eq!(found, expected);
}

#[test]
fn what_is_no_frame_is_refused() {
    for bytes in [
        &b"\r\n"[..],
        b"?\r\n",
        b"|1\r\n",
        b"$x\r\n",
        b"$-2\r\n",
        b"$+1\r\na\r\n",
        b"$99999999999999999999\r\n",
        b"$9223372036854775807\r\n",
        b"*?\r\n",
        b"$1\r\nabc",
        b"+a\rb",
        b">3\r\n>1\r\n",
        b"%9223372036854775807\r\n+a\r\n",
        // Too long for anything but a message.
        b"$65537\r\n",
        b"=65537\r\n",
        b"*9\r\n+\r\n+\r\n+\r\n$65537\r\n",
        b">3\r\n$65537\r\n",
        b">3\r\n$7\r\nmessage\r\n$65537\r\n",
        b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n$65\r\n",
    ] {
        assert!(frames(bytes).is_err(), "{:?}", bytes.escape_ascii().to_string());
    }
    assert!(frames(&[b"+".to_vec(), vec![b'a'; NAME]].concat()).is_err(), "a line without an end");
    assert!(frames(&b"*1\r\n".repeat(100_000)).is_err(), "an abyss");
    assert!(frames(&b"*9\r\n".repeat(100_000)).is_err(), "more than anybody asks for");
}

#[test]
fn what_is_too_long_is_passed_over_and_never_kept() {
    let long = vec![b'$'; 100_000];
    let stream = [
        push(&[b"message", b"a", b"1"]),
        push(&[b"message", b"a", &long]),
        push(&[b"pmessage", b"a*", b"ab", &long]),
        push(&[b"pmessage", b"a*", &long, &long]),
        push(&[b"pmessage", b"a*", &long, b""]),
        push(&[b"smessage", b"a", &long[..65]]),
        push(&[b"message", b"a", &long[..64]]),
        b"+after\r\n".to_vec(),
    ]
    .concat();
    for size in [1, 7, 1_000, stream.len()] {
        let mut reader = Reader::new(64);
        let found: Vec<_> =
            stream.chunks(size).flat_map(|piece| reader.read(piece).unwrap()).collect();
        assert_eq!(found.len(), 8, "{found:?}");
        let too_long = |n: usize, kind: &str, bytes: usize| {
            assert!(found[n].starts_with(&format!("TooLong {{ kind: {kind}")), "{}", found[n]);
            assert!(found[n].ends_with(&format!("bytes: {bytes} }}")), "{}", found[n]);
        };
        too_long(1, "Channel", 100_000);
        too_long(2, "Pattern", 100_000);
        too_long(3, "Pattern", 100_000);
        too_long(4, "Pattern", 100_000);
        too_long(5, "Sharded", 65);
        assert!(found[0].starts_with("Message") && found[6].starts_with("Message"));
        assert!(size == stream.len() || reader.most <= reader.decoder.most() + size);
        assert!(size == stream.len() || reader.most < 2_000, "{} bytes kept", reader.most);
    }
}

fn words() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"message".to_vec()),
        Just(b"pmessage".to_vec()),
        Just(b"smessage".to_vec()),
        Just(b"subscribe".to_vec()),
        vec(any::<u8>(), 0..40),
        vec(any::<u8>(), 60..90),
    ]
}

proptest! {
    #[test]
    fn frames_survive_any_cut_of_the_stream(
        parts in vec(vec(words(), 3..5), 1..8),
        sizes in vec(1_usize..40, 1..20),
    ) {
        let stream: Vec<u8> = parts
            .iter()
            .flat_map(|parts| push(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()))
            .collect();
        let whole = Reader::new(64).read(&stream);
        let (mut reader, mut found) = (Reader::new(64), Vec::new());
        let (mut rest, mut sizes) = (&stream[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let (piece, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            rest = later;
            match reader.read(piece) {
                Ok(frames) => found.extend(frames),
                Err(wrong) => {
                    prop_assert_eq!(whole, Err(wrong));
                    return Ok(());
                }
            }
        }
        prop_assert_eq!(whole.unwrap(), found);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(prop_oneof![
        Just(b'$'), Just(b'>'), Just(b'*'), Just(b'%'), Just(b'\r'), Just(b'\n'), b'0'..=b'9', any::<u8>(),
    ], 0..200)) {
        let _ = frames(&bytes);
    }
}
