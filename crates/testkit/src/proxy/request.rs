use bytes::{Bytes, BytesMut};

use crate::Result;
use crate::frame::{Scanner, line, number};

/// Takes whole requests off a growing buffer: arrays of bulk strings, and inline commands.
#[derive(Debug)]
pub(super) struct Requests {
    scanner: Scanner,
}

/// A request as it came, and what it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) bytes: Bytes,
    /// Empty for an empty line or array, which servers pass over without a reply.
    pub(super) args: Vec<Bytes>,
}

impl Requests {
    pub(super) fn new() -> Requests {
        Requests { scanner: Scanner::new() }
    }

    /// The first request of the buffer, if it is there as a whole.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Request>> {
        let Some(first) = buffer.first() else { return Ok(None) };
        if *first != b'*' {
            let end = buffer.iter().position(|byte| *byte == b'\n');
            return Ok(end.map(|end| inline(buffer.split_to(end + 1).freeze())));
        }
        let Some(len) = self.scanner.scan(buffer)? else { return Ok(None) };
        let bytes = buffer.split_to(len).freeze();
        let args = bulks(&bytes).collect();
        Ok(Some(Request { bytes, args }))
    }
}

fn inline(bytes: Bytes) -> Request {
    let words = bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let args = words.map(|word| bytes.slice_ref(word)).collect();
    Request { bytes, args }
}

/// The leading bulk strings of an array or push that is there as a whole.
pub(super) fn bulks(frame: &Bytes) -> impl Iterator<Item = Bytes> {
    let mut rest = frame.clone();
    if let Some(header) = line(&rest).map(<[u8]>::len) {
        rest = rest.split_off(header + 2);
    }
    std::iter::from_fn(move || {
        let len = line(&rest)?
            .strip_prefix(b"$")
            .map(number)??
            .and_then(|len| usize::try_from(len).ok())?;
        let start = line(&rest)?.len() + 2;
        let bulk = rest.slice(start..start + len);
        rest = rest.slice(start + len + 2..);
        Some(bulk)
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Vec<Vec<String>> {
        let (mut requests, mut buffer, mut found) = (Requests::new(), BytesMut::new(), Vec::new());
        for byte in bytes {
            buffer.extend_from_slice(&[*byte]);
            while let Some(request) = requests.next(&mut buffer).unwrap() {
                found.push(
                    request
                        .args
                        .iter()
                        .map(|arg| String::from_utf8_lossy(arg).into_owned())
                        .collect(),
                );
            }
        }
        assert!(buffer.is_empty());
        found
    }

    #[test]
    fn requests_are_told_apart() {
        let found = all(b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\nPING\r\n  set k  v \n\r\n*0\r\n*1\r\n$4\r\nQUIT\r\n");
        let expected: [&[&str]; 6] =
            [&["GET", "a\r\n"], &["PING"], &["set", "k", "v"], &[], &[], &["QUIT"]];
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn requests_survive_any_cut_of_the_stream(
            sent in vec(vec(vec(any::<u8>(), 0..30), 1..6), 1..8),
            chunks in vec(1_usize..40, 1..20),
        ) {
            let bytes: Vec<u8> = sent.iter().flat_map(|args| crate::encode(args)).collect();
            let (mut requests, mut buffer, mut found) = (Requests::new(), BytesMut::new(), Vec::new());
            let (mut rest, mut sizes) = (&bytes[..], chunks.iter().cycle());
            let mut forwarded = Vec::new();
            while !rest.is_empty() {
                let (chunk, later) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                buffer.extend_from_slice(chunk);
                rest = later;
                while let Some(request) = requests.next(&mut buffer).unwrap() {
                    forwarded.extend_from_slice(&request.bytes);
                    found.push(request.args.iter().map(|arg| arg.to_vec()).collect::<Vec<_>>());
                }
            }
            prop_assert_eq!(found, sent);
            prop_assert_eq!(forwarded, bytes);
        }
    }
}
