//! What the server says on a connection that only subscribes, taken off a growing buffer.
//!
//! Of our own, because the client's parser (`redis-protocol` 6) can't do two things that this connection needs: tell
//! how long a message is before all of it is there, so that one that is too long can be passed over instead of kept;
//! and read what is nested without recursion (800 bytes of `*1\r\n` overflow the stack of a debug build, 8 KB that of
//! a release build). It reads what such a connection can say, and no more.

use crate::hub::topic::Kind;

/// One thing that the server said.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::hub) enum Frame<'a> {
    Message {
        kind: Kind,
        /// The channel or pattern that was subscribed to.
        topic: &'a [u8],
        channel: &'a [u8],
        payload: &'a [u8],
    },
    /// A message whose payload, or the name of whose channel, is longer than allowed. It is passed over.
    TooLong {
        kind: Kind,
        topic: &'a [u8],
        bytes: usize,
    },
    Subscribed(Kind, &'a [u8]),
    Unsubscribed(Kind, &'a [u8]),
    /// A reply of text.
    Text(&'a [u8]),
    /// An error reply.
    Error(&'a [u8]),
    /// Another reply.
    Reply,
    /// A push that is of no concern here.
    Push,
}

/// Bytes that are no RESP3, or more than anybody should send.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::hub) struct Malformed(pub(in crate::hub) String);

fn malformed<T>(what: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(what.into()))
}

/// The longest name of a channel or pattern to subscribe to; also of any reply, and of a line.
pub(in crate::hub) const NAME: usize = 64 * 1024;
/// The most elements of one reply.
const ELEMENTS: u64 = 64 * 1024;

#[derive(Debug)]
pub(in crate::hub) struct Decoder {
    /// The most bytes of a payload.
    max: usize,
    /// Bytes that are still to be passed over.
    skip: u64,
    /// And strings after them.
    swallow: u64,
}

impl Decoder {
    pub(in crate::hub) fn new(max: usize) -> Self {
        Self { max, skip: 0, swallow: 0 }
    }

    /// More than this is never kept for one frame.
    pub(in crate::hub) fn most(&self) -> usize {
        self.max.saturating_mul(2).saturating_add(4 * NAME)
    }

    /// How many bytes at the beginning of the input belong to what is passed over, and whether that is its end.
    pub(in crate::hub) fn pass(&mut self, input: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut cursor = Cursor { input, at: 0 };
        loop {
            let left = input.len() - cursor.at;
            let now = usize::try_from(self.skip).unwrap_or(usize::MAX).min(left);
            cursor.at += now;
            self.skip -= now as u64;
            if self.skip > 0 {
                return Ok((cursor.at, false));
            }
            if self.swallow == 0 {
                return Ok((cursor.at, true));
            }
            let begin = cursor.at;
            match cursor.line()? {
                None => return Ok((begin, false)),
                Some((b'$', len)) => self.skip = length(len)? as u64 + 2,
                Some(_) => return malformed("no string in a message"),
            }
            self.swallow -= 1;
        }
    }

    /// The frame at the beginning of the input and its length, if it is there.
    pub(in crate::hub) fn decode<'a>(
        &mut self,
        input: &'a [u8],
    ) -> Result<Option<(Frame<'a>, usize)>, Malformed> {
        let mut cursor = Cursor { input, at: 0 };
        let Some((head, rest)) = cursor.line()? else { return Ok(None) };
        let frame = match head {
            b'+' => Frame::Text(rest),
            b'-' => Frame::Error(rest),
            b':' | b'#' | b',' | b'(' | b'_' => Frame::Reply,
            b'$' if rest == b"-1" => Frame::Reply,
            b'$' | b'=' | b'!' => match cursor.string(named(length(rest)?)?)? {
                None => return Ok(None),
                Some(text) if head == b'!' => Frame::Error(text),
                // The kind of a verbatim string comes before it, as `txt:`.
                Some(text) if head == b'=' => Frame::Text(text.get(4..).unwrap_or_default()),
                Some(text) => Frame::Text(text),
            },
            b'*' | b'~' | b'%' | b'>' => match self.elements(&mut cursor, head, rest)? {
                None => return Ok(None),
                Some(Elements::Whole(parts)) if head == b'>' => push(&parts),
                Some(Elements::Whole(_)) => Frame::Reply,
                Some(Elements::TooLong { parts, bytes, left }) => match message(&parts) {
                    Some((kind, topic)) if head == b'>' => {
                        (self.skip, self.swallow) = (bytes as u64 + 2, left);
                        Frame::TooLong { kind, topic, bytes }
                    }
                    _ => return malformed(format!("an element of {bytes} bytes")),
                },
            },
            _ => return malformed("a frame of a kind that is not known"),
        };
        Ok(Some((frame, cursor.at)))
    }

    /// The most bytes of this element of a push. The name of a channel may be as long as one to subscribe to.
    fn most_of(&self, at: usize, parts: &Parts<'_>) -> usize {
        match message(parts) {
            Some((Kind::Pattern, _)) if at == 2 => self.max.max(NAME),
            _ => self.max,
        }
    }

    /// Reads so many elements, those inside others among them, and keeps the first four.
    fn elements<'a>(
        &self,
        cursor: &mut Cursor<'a>,
        kind: u8,
        count: &[u8],
    ) -> Result<Option<Elements<'a>>, Malformed> {
        let mut parts = [None; 4];
        let mut left = elements_of(kind, count)?;
        for at in 0.. {
            if left == 0 {
                break;
            }
            left -= 1;
            let Some((head, rest)) = cursor.line()? else { return Ok(None) };
            match head {
                b'$' if rest == b"-1" => {}
                b'$' | b'=' | b'!' => {
                    let bytes = length(rest)?;
                    if kind != b'>' || at < 2 {
                        // Words, names that we sent, and what nobody asks for.
                        named(bytes)?;
                    } else if bytes > self.most_of(at, &parts) {
                        return Ok(Some(Elements::TooLong { parts, bytes, left }));
                    }
                    let Some(text) = cursor.string(bytes)? else { return Ok(None) };
                    if let Some(part) = parts.get_mut(at) {
                        *part = Some(text);
                    }
                }
                b'+' | b'-' | b':' | b'#' | b',' | b'(' | b'_' => {}
                b'*' | b'~' | b'%' => left += elements_of(head, rest)?,
                _ => return malformed("an element of a kind that is not known"),
            }
            if left > ELEMENTS || at as u64 > ELEMENTS {
                return malformed("more elements than anything should have");
            }
        }
        Ok(Some(Elements::Whole(parts)))
    }
}

type Parts<'a> = [Option<&'a [u8]>; 4];

enum Elements<'a> {
    Whole(Parts<'a>),
    /// An element is too long, and so many are left after it.
    TooLong {
        parts: Parts<'a>,
        bytes: usize,
        left: u64,
    },
}

fn push<'a>(parts: &Parts<'a>) -> Frame<'a> {
    let [Some(word), Some(topic), third, fourth] = *parts else { return Frame::Push };
    for kind in Kind::ALL {
        if word.eq_ignore_ascii_case(kind.subscribe().as_bytes()) {
            return Frame::Subscribed(kind, topic);
        }
        if word.eq_ignore_ascii_case(kind.unsubscribe().as_bytes()) {
            return Frame::Unsubscribed(kind, topic);
        }
    }
    let Some((kind, topic)) = message(parts) else { return Frame::Push };
    match (kind, third, fourth) {
        (Kind::Pattern, Some(channel), Some(payload)) => {
            Frame::Message { kind, topic, channel, payload }
        }
        (Kind::Channel | Kind::Sharded, Some(payload), None) => {
            Frame::Message { kind, topic, channel: topic, payload }
        }
        _ => Frame::Push,
    }
}

/// Whose message it is.
fn message<'a>(parts: &Parts<'a>) -> Option<(Kind, &'a [u8])> {
    let [Some(word), Some(topic), ..] = *parts else { return None };
    let kind = Kind::ALL.into_iter().find(|kind| word == kind.message().as_bytes())?;
    Some((kind, topic))
}

fn length(digits: &[u8]) -> Result<usize, Malformed> {
    let text = std::str::from_utf8(digits).ok();
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    match text.filter(|_| all_digits).and_then(|text| text.parse().ok()) {
        Some(length) if length <= isize::MAX as usize / 4 => Ok(length),
        _ => malformed("a length that can't be"),
    }
}

fn named(bytes: usize) -> Result<usize, Malformed> {
    if bytes > NAME { malformed(format!("a string of {bytes} bytes")) } else { Ok(bytes) }
}

fn elements_of(head: u8, count: &[u8]) -> Result<u64, Malformed> {
    let count = if count == b"-1" { 0 } else { length(count)? as u64 };
    Ok(if head == b'%' { count * 2 } else { count })
}

struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The first byte of a line and the others.
    fn line(&mut self) -> Result<Option<(u8, &'a [u8])>, Malformed> {
        let rest = &self.input[self.at..];
        let Some(end) = rest.iter().take(NAME).position(|&byte| byte == b'\r') else {
            return if rest.len() < NAME { Ok(None) } else { malformed("a line without an end") };
        };
        match rest.get(end + 1) {
            None => Ok(None),
            Some(b'\n') => {
                self.at += end + 2;
                let Some((head, line)) = rest[..end].split_first() else {
                    return malformed("an empty line");
                };
                Ok(Some((*head, line)))
            }
            Some(_) => malformed("half an end of a line"),
        }
    }

    /// A string of so many bytes.
    fn string(&mut self, bytes: usize) -> Result<Option<&'a [u8]>, Malformed> {
        let rest = &self.input[self.at..];
        let Some(whole) = rest.get(..bytes + 2) else { return Ok(None) };
        let (text, end) = whole.split_at(bytes);
        if end != b"\r\n" {
            return malformed("a string that does not end where it should");
        }
        self.at += whole.len();
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests;
