//! Where a RESP2 or RESP3 frame ends, found piece by piece.

use crate::{Error, Result};

/// Aggregates larger than this are taken for garbage rather than believed.
const LARGEST: u64 = 1 << 32;

/// Finds the end of the frame at the start of a growing buffer.
///
/// It remembers how far it has come, so bytes may arrive one by one and nesting may be deep: no byte of a finished
/// element is looked at twice. Attributes (`|`) belong to the frame that they precede.
#[derive(Clone, Debug)]
pub(crate) struct Scanner {
    /// Bytes of the buffer that are done with.
    at: usize,
    /// Elements that must still come.
    missing: u64,
}

impl Scanner {
    pub(crate) fn new() -> Scanner {
        Scanner { at: 0, missing: 1 }
    }

    /// The length of the first frame in `buffer`, or None if more bytes are needed.
    ///
    /// Call it again with the same bytes and more of them, until it gives a length: then take so many bytes off
    /// the buffer.
    pub(crate) fn scan(&mut self, buffer: &[u8]) -> Result<Option<usize>> {
        while self.missing > 0 {
            let rest = buffer.get(self.at..).unwrap_or_default();
            let Some(element) = element(rest)? else { return Ok(None) };
            let Some(end) = self.at.checked_add(element.len) else { return Err(garbage(rest)) };
            if end > buffer.len() {
                return Ok(None);
            }
            self.at = end;
            self.missing = self.missing - element.counts + element.adds;
        }
        let len = self.at;
        *self = Scanner::new();
        Ok(Some(len))
    }
}

struct Element {
    /// Bytes, of which some may not be there yet.
    len: usize,
    /// 1, or 0 for an attribute.
    counts: u64,
    /// Elements that it contains.
    adds: u64,
}

/// The element at the start of `bytes`, without what is nested in it.
fn element(bytes: &[u8]) -> Result<Option<Element>> {
    let Some(&kind) = bytes.first() else { return Ok(None) };
    let Some(line) = line(bytes) else {
        return if b"+-:,(#_$!=*~>%|".contains(&kind) { Ok(None) } else { Err(garbage(bytes)) };
    };
    let header = line.len() + 2;
    let number = || number(line.get(1..).unwrap_or_default()).ok_or_else(|| garbage(bytes));
    let aggregate = |width: u64, counts: u64| match number()? {
        // RESP2 writes a missing array as one of minus one elements.
        None => Ok(Some(Element { len: header, counts, adds: 0 })),
        Some(n) if n <= LARGEST => Ok(Some(Element { len: header, counts, adds: n * width })),
        Some(_) => Err(garbage(bytes)),
    };
    match kind {
        b'+' | b'-' | b':' | b',' | b'(' | b'#' | b'_' => {
            Ok(Some(Element { len: header, counts: 1, adds: 0 }))
        }
        b'$' | b'!' | b'=' => {
            let body = match number()? {
                None => 0,
                Some(n) => usize::try_from(n)
                    .ok()
                    .and_then(|n| n.checked_add(2))
                    .ok_or_else(|| garbage(bytes))?,
            };
            let len = header.checked_add(body).ok_or_else(|| garbage(bytes))?;
            if bytes.get(len - 2..len).is_some_and(|end| end != b"\r\n") {
                return Err(garbage(bytes));
            }
            Ok(Some(Element { len, counts: 1, adds: 0 }))
        }
        b'*' | b'~' | b'>' => aggregate(1, 1),
        b'%' => aggregate(2, 1),
        b'|' => aggregate(2, 0),
        _ => Err(garbage(bytes)),
    }
}

/// The bytes before the first CR LF.
pub(crate) fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    bytes.get(..end)
}

/// A length: `Some(None)` is minus one, None is no length.
#[expect(clippy::option_option, reason = "a missing value and a wrong one are different answers")]
pub(crate) fn number(digits: &[u8]) -> Option<Option<u64>> {
    if digits == b"-1" {
        return Some(None);
    }
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok().map(Some)
}

pub(crate) fn garbage(bytes: &[u8]) -> Error {
    let start = bytes.get(..bytes.len().min(32)).unwrap_or_default();
    Error::Protocol(start.escape_ascii().to_string())
}

#[cfg(test)]
mod tests;
