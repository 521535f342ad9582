//! Values to bytes and back, bounded in size and depth.

mod builder;
mod compress;
mod depth;
mod envelope;
mod error;
mod payload;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::builder::{CodecBuilder, Compression, Format};
pub use self::error::CodecError;

use self::envelope::Packing;
use self::payload::Buffer;

/// How values are written to Redis, and a reader of everything that any codec wrote.
///
/// ```
/// use russet_core_conn::{Codec, CodecError};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Fare {
///     cents: u64,
///     seats: u16,
/// }
///
/// let codec = Codec::default();
/// let bytes = codec.encode(&Fare { cents: 12_900, seats: 4 })?;
/// assert_eq!(codec.decode::<Fare>(&bytes)?, Fare { cents: 12_900, seats: 4 });
///
/// // Something else's value is a typed error, and so is half of ours.
/// assert!(matches!(codec.decode::<Fare>(b"{}"), Err(CodecError::ForeignVersion { found: b'{' })));
/// assert!(matches!(codec.decode::<Fare>(&bytes[..9]), Err(CodecError::Truncated)));
/// # Ok::<(), CodecError>(())
/// ```
///
/// # Envelope
///
/// | Byte | Meaning |
/// |---|---|
/// | 0 | `0xC1`: version 1. No MessagePack, JSON or other UTF-8 text begins with it |
/// | 1 | low four bits: 1 MessagePack, 2 JSON; high four: 0 plain, 1 LZ4, 2 Zstandard |
/// | 2… | the payload; an LZ4 block stands behind its decoded length (4 bytes, little-endian) |
///
/// Decoding follows the envelope, not the options: format and compression can be changed while old
/// values live. What was written with a feature that is not compiled in is
/// [`Unsupported`](CodecError::Unsupported). There is no checksum: a flipped bit can decode to
/// another value of the same type.
///
/// # Formats
///
/// MessagePack writes structs as maps with named fields. The compact form, arrays by position, is
/// smaller, but gives a wrong value without an error when fields of one type trade places between
/// two releases. By name a reader skips fields that it does not know, and takes
/// `#[serde(default)]` for those that are missing. A `Vec<u8>` is an array of numbers unless it is
/// marked with `serde_bytes`. `Some(None)` and `Some(())` read as `None`.
///
/// JSON keeps every finite float exactly, writes NaN and the infinities as `null`, and has only
/// text as keys of a map (numbers are converted).
///
/// # Limits
///
/// - Size: 16 MiB before compression by default, in both directions. That is 134 ms on a network of
///   1 Gbit/s, a quarter of the default deadline of 500 ms; Redis serves nobody else meanwhile.
///   Decompression stops at the cap, whatever sizes the bytes claim. A decoded value may take more
///   memory than its bytes: an element of a list takes at least one byte.
/// - Depth: 127 levels of sequences, maps and enums, as many as `serde_json` reads.
///
/// # Compression
///
/// From a threshold on, by default 1,024 bytes, and kept only if it is smaller. A single small
/// record hardly shrinks; from about a kilobyte on, field names repeat and LZ4 saves more time on
/// the wire than it takes. Zstandard sets up its state for each value, which takes microseconds
/// both ways: it is for large values, or for memory that is dearer than time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codec {
    format: Format,
    compression: Compression,
    threshold: usize,
    max_decoded: usize,
}

impl Codec {
    /// A codec with options.
    ///
    /// ```
    /// use russet_core_conn::{Codec, CodecError};
    ///
    /// let codec = Codec::builder().max_decoded(64 << 10).build()?;
    /// assert!(matches!(codec.encode(&vec![7; 70_000]), Err(CodecError::TooLarge { cap: 65_536 })));
    /// # Ok::<(), CodecError>(())
    /// ```
    pub fn builder() -> CodecBuilder {
        CodecBuilder::new()
    }

    /// The value in its envelope.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](CodecError::TooLarge) or [`TooDeep`](CodecError::TooDeep) if it could not be
    /// read again; [`Encode`](CodecError::Encode) if it can't be written in this format.
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Bytes, CodecError> {
        let mut out = Vec::with_capacity(512);
        self.append(value, &mut out)?;
        Ok(out.into())
    }

    /// Appends the value in its envelope, behind what `out` already holds.
    ///
    /// # Errors
    ///
    /// Those of [`encode`](Self::encode); `out` is then as it was.
    pub fn encode_into<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut BytesMut,
    ) -> Result<(), CodecError> {
        let start = out.len();
        let done = self.append(value, out);
        if done.is_err() {
            out.truncate(start);
        }
        done
    }

    /// The value of an envelope that any codec wrote.
    ///
    /// # Errors
    ///
    /// Each way in which bytes can be wrong has its variant of [`CodecError`]. No bytes make it
    /// panic, overflow the stack, or decompress more than the cap.
    pub fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let (format, packing, payload) = envelope::open(bytes)?;
        let payload = compress::expand(packing, payload, self.max_decoded)?;
        payload::read(format, &payload)
    }

    fn append<T: Serialize + ?Sized>(
        &self,
        value: &T,
        out: &mut impl Buffer,
    ) -> Result<(), CodecError> {
        let start = out.as_ref().len();
        let body = start + envelope::LENGTH;
        let plain = envelope::second_byte(self.format, Packing::Plain);
        out.put_slice(&[envelope::VERSION, plain]);
        payload::write(self.format, value, out, self.max_decoded)?;
        let length = out.as_ref().len() - body;
        if length < self.threshold {
            return Ok(());
        }
        let packed = compress::shrink(self.compression, &out.as_ref()[body..])?;
        if let Some(packed) = packed.filter(|packed| packed.len() < length) {
            out.as_mut()[start + 1] = envelope::second_byte(self.format, self.compression.into());
            out.truncate(body);
            out.put_slice(&packed);
        }
        Ok(())
    }
}

impl Default for Codec {
    fn default() -> Self {
        Self {
            format: Format::default(),
            compression: Compression::default(),
            threshold: 1024,
            max_decoded: 16 << 20,
        }
    }
}
