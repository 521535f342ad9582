use crate::frame::{garbage, line, number};
use crate::{Error, Result};

/// Deeper replies are refused: no server sends them.
const DEEPEST: usize = 128;

/// One reply, in RESP2 or RESP3, as it was sent: nothing is converted, and an error is a value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// `+OK`.
    Simple(String),
    /// `-ERR ...`, also in its length-prefixed form.
    Error(String),
    /// `:42`.
    Int(i64),
    /// `$...`.
    Bulk(Vec<u8>),
    /// A missing bulk string or array (RESP2), or `_`.
    Nil,
    /// `*...`.
    Array(Vec<Reply>),
    /// `%...`, in the order of the wire.
    Map(Vec<(Reply, Reply)>),
    /// `~...`, in the order of the wire.
    Set(Vec<Reply>),
    /// `,1.5`.
    Double(f64),
    /// `#t`.
    Bool(bool),
    /// `(123...`, its digits.
    BigNumber(String),
    /// `=...`: the format (`txt`, `mkd`) and the text.
    Verbatim(String, Vec<u8>),
    /// `>...`: not an answer to a request.
    Push(Vec<Reply>),
    /// `|...`: what the server adds to a reply, and the reply.
    Attributed(Vec<(Reply, Reply)>, Box<Reply>),
}

impl Reply {
    /// The number in `:42`, else None.
    #[must_use]
    pub fn int(&self) -> Option<i64> {
        if let Reply::Int(n) = self { Some(*n) } else { None }
    }

    /// The text of a simple, bulk or verbatim string, if it is UTF-8, else None. An error has no text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Reply::Simple(text) => Some(text),
            Reply::Bulk(bytes) | Reply::Verbatim(_, bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The bytes of a bulk or verbatim string, else None.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Reply::Bulk(bytes) | Reply::Verbatim(_, bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The elements of an array, set or push, else None.
    #[must_use]
    pub fn items(&self) -> Option<&[Reply]> {
        match self {
            Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => Some(items),
            _ => None,
        }
    }

    /// The message of an error reply, else None.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        if let Reply::Error(message) = self { Some(message) } else { None }
    }

    /// Whether it is `+OK`.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        matches!(self, Reply::Simple(text) if text == "OK")
    }

    /// Whether it says that there is nothing.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        matches!(self, Reply::Nil)
    }

    /// Reads one frame, which must be whole.
    pub(crate) fn parse(frame: &[u8]) -> Result<Reply> {
        let mut rest = frame;
        read(&mut rest, DEEPEST)
    }
}

fn read(rest: &mut &[u8], depth: usize) -> Result<Reply> {
    let whole = *rest;
    let wrong = || garbage(whole);
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| Error::Protocol(format!("nested deeper than {DEEPEST}")))?;
    let head = line(whole).ok_or_else(wrong)?;
    let (kind, text) = head.split_first().ok_or_else(wrong)?;
    *rest = whole.get(head.len() + 2..).ok_or_else(wrong)?;
    let string = || String::from_utf8_lossy(text).into_owned();
    let len = || number(text).ok_or_else(wrong);
    Ok(match kind {
        b'+' => Reply::Simple(string()),
        b'-' => Reply::Error(string()),
        b':' => Reply::Int(string().parse().map_err(|_| wrong())?),
        b',' => Reply::Double(string().parse().map_err(|_| wrong())?),
        b'(' => Reply::BigNumber(string()),
        b'#' => Reply::Bool(text == b"t"),
        b'_' => Reply::Nil,
        b'$' | b'!' | b'=' => {
            let Some(len) = len()? else { return Ok(Reply::Nil) };
            let len = usize::try_from(len).map_err(|_| wrong())?;
            let body = rest.get(..len).ok_or_else(wrong)?;
            *rest = rest.get(len + 2..).ok_or_else(wrong)?;
            match (kind, body) {
                (b'$', _) => Reply::Bulk(body.to_vec()),
                (b'!', _) => Reply::Error(String::from_utf8_lossy(body).into_owned()),
                (_, [a, b, c, b':', text @ ..]) => Reply::Verbatim(
                    String::from_utf8_lossy(&[*a, *b, *c]).into_owned(),
                    text.to_vec(),
                ),
                _ => return Err(wrong()),
            }
        }
        b'*' | b'~' | b'>' => {
            let Some(len) = len()? else { return Ok(Reply::Nil) };
            let items = (0..len).map(|_| read(rest, depth)).collect::<Result<_>>()?;
            match kind {
                b'*' => Reply::Array(items),
                b'~' => Reply::Set(items),
                _ => Reply::Push(items),
            }
        }
        b'%' => Reply::Map(pairs(rest, len()?, depth)?),
        b'|' => {
            let attributes = pairs(rest, len()?, depth)?;
            Reply::Attributed(attributes, Box::new(read(rest, depth)?))
        }
        _ => return Err(wrong()),
    })
}

fn pairs(rest: &mut &[u8], len: Option<u64>, depth: usize) -> Result<Vec<(Reply, Reply)>> {
    (0..len.unwrap_or(0)).map(|_| Ok((read(rest, depth)?, read(rest, depth)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_as_they_were_sent() {
        let frame = b"|1\r\n+ttl\r\n:9\r\n*6\r\n%1\r\n+k\r\n,1.5\r\n~1\r\n#t\r\n=7\r\ntxt:abc\r\n!5\r\nERR x\r\n$-1\r\n(12\r\n";
        let reply = Reply::parse(frame).unwrap();
        let simple = |text: &str| Reply::Simple(text.to_owned());
        let expected = Reply::Attributed(
            vec![(simple("ttl"), Reply::Int(9))],
            Box::new(Reply::Array(vec![
                Reply::Map(vec![(simple("k"), Reply::Double(1.5))]),
                Reply::Set(vec![Reply::Bool(true)]),
                Reply::Verbatim("txt".to_owned(), b"abc".to_vec()),
                Reply::Error("ERR x".to_owned()),
                Reply::Nil,
                Reply::BigNumber("12".to_owned()),
            ])),
        );
        assert_eq!(reply, expected);
    }

    #[test]
    fn a_bottomless_reply_is_an_error() {
        let mut frame = b"*1\r\n".repeat(DEEPEST);
        frame.extend_from_slice(b":1\r\n");
        assert!(matches!(Reply::parse(&frame), Err(Error::Protocol(_))));
    }
}
