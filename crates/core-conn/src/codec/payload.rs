//! Values to payloads and back, one function pair a format.

use std::cell::Cell;
use std::io::{self, Write};

use bytes::{BufMut, BytesMut};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::depth::Limited;
use super::{CodecError, Format};

/// As many levels as `serde_json` reads.
pub(super) const MAX_DEPTH: usize = 127;

/// One level more than may be written: a unit variant counts as a level to the reader only.
const MAX_DEPTH_READ: usize = MAX_DEPTH + 1;

/// What values are appended to.
pub(super) trait Buffer: BufMut + AsRef<[u8]> + AsMut<[u8]> {
    fn truncate(&mut self, length: usize);
}

impl Buffer for Vec<u8> {
    fn truncate(&mut self, length: usize) {
        self.truncate(length);
    }
}

impl Buffer for BytesMut {
    fn truncate(&mut self, length: usize) {
        self.truncate(length);
    }
}

/// Appends the value; what was appended on an error is the caller's to remove.
pub(super) fn write<T: Serialize + ?Sized>(
    format: Format,
    value: &T,
    out: &mut impl Buffer,
    cap: usize,
) -> Result<(), CodecError> {
    let start = out.as_ref().len();
    let mut capped = Capped { out, left: cap, exceeded: false };
    let written = match format {
        Format::MessagePack => {
            let mut serializer = rmp_serde::Serializer::new(&mut capped).with_struct_map();
            value.serialize(&mut serializer).map_err(CodecError::encode)
        }
        #[cfg(feature = "json")]
        Format::Json => serde_json::to_writer(&mut capped, value).map_err(CodecError::encode),
        #[cfg(not(feature = "json"))]
        Format::Json => Err(CodecError::Unsupported { what: "json" }),
    };
    if capped.exceeded {
        return Err(CodecError::TooLarge { cap });
    }
    written?;
    if nests_too_deep(format, &out.as_ref()[start..]) {
        return Err(CodecError::TooDeep { cap: MAX_DEPTH });
    }
    Ok(())
}

/// Reads exactly one value.
pub(super) fn read<T: DeserializeOwned>(format: Format, payload: &[u8]) -> Result<T, CodecError> {
    let too_deep = Cell::new(false);
    let read = match format {
        Format::MessagePack => read_message_pack(payload, MAX_DEPTH_READ, &too_deep),
        #[cfg(feature = "json")]
        Format::Json => read_json(payload, MAX_DEPTH_READ, &too_deep),
        #[cfg(not(feature = "json"))]
        Format::Json => Err(CodecError::Unsupported { what: "json" }),
    };
    if too_deep.get() { Err(CodecError::TooDeep { cap: MAX_DEPTH }) } else { read }
}

fn read_message_pack<T: DeserializeOwned>(
    payload: &[u8],
    levels: usize,
    too_deep: &Cell<bool>,
) -> Result<T, CodecError> {
    use rmp_serde::decode::Error;

    let ended = |error: &Error| {
        let (Error::InvalidMarkerRead(io) | Error::InvalidDataRead(io)) = error else {
            return false;
        };
        io.kind() == io::ErrorKind::UnexpectedEof
    };
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(payload);
    let value =
        T::deserialize(Limited::new(&mut deserializer, levels, too_deep)).map_err(|error| {
            if ended(&error) { CodecError::Truncated } else { CodecError::corrupt(error) }
        })?;
    // The deserializer does not tell where it stands, but another value must find the end there.
    match <()>::deserialize(&mut deserializer) {
        Err(error) if ended(&error) => Ok(value),
        _ => Err(CodecError::corrupt("bytes follow the value")),
    }
}

#[cfg(feature = "json")]
fn read_json<T: DeserializeOwned>(
    payload: &[u8],
    levels: usize,
    too_deep: &Cell<bool>,
) -> Result<T, CodecError> {
    let typed = |error: serde_json::Error| {
        if error.is_eof() { CodecError::Truncated } else { CodecError::corrupt(error) }
    };
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let value = T::deserialize(Limited::new(&mut deserializer, levels, too_deep)).map_err(typed)?;
    deserializer.end().map_err(typed)?;
    Ok(value)
}

/// Whether what was just written could not be read again. Each level opens with a byte of its own,
/// so hardly any payload needs more than a count of those bytes.
fn nests_too_deep(format: Format, payload: &[u8]) -> bool {
    match format {
        Format::MessagePack => {
            let too_deep = Cell::new(false);
            count(payload, |b| b.wrapping_sub(0x80) < 0x20 || b.wrapping_sub(0xDC) < 4) > MAX_DEPTH
                && read_message_pack::<IgnoredAny>(payload, MAX_DEPTH, &too_deep).is_err()
        }
        Format::Json => {
            count(payload, |b| b == b'[' || b == b'{') > MAX_DEPTH
                && json_depth(payload) > MAX_DEPTH
        }
    }
}

/// In short runs, counted in bytes, so that the compiler makes vector code of it.
fn count(payload: &[u8], opens: impl Fn(u8) -> bool) -> usize {
    let run = |run: &[u8]| usize::from(run.iter().map(|b| u8::from(opens(*b))).sum::<u8>());
    payload.chunks(128).map(run).sum()
}

fn json_depth(payload: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text) = (0_usize, 0, false);
    let mut bytes = payload.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_text = !in_text,
            b'\\' => drop(bytes.next()),
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Refuses to grow beyond its cap, so that a value without end is no buffer without end.
struct Capped<'a, B> {
    out: &'a mut B,
    left: usize,
    exceeded: bool,
}

impl<B: Buffer> Write for Capped<'_, B> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(left) = self.left.checked_sub(bytes.len()) else {
            self.exceeded = true;
            return Err(io::Error::other("larger than the cap"));
        };
        self.left = left;
        self.out.put_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
