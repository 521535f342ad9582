//! The two bytes in front of each value.

use super::{CodecError, Compression, Format};

/// The version, and a mark of ours: MessagePack never uses this byte, and UTF-8 has no place for
/// it.
pub(super) const VERSION: u8 = 0xC1;

/// The length of the envelope.
pub(super) const LENGTH: usize = 2;

/// How the payload was compressed; the level does not matter to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Lz4,
    Zstd,
}

pub(super) fn second_byte(format: Format, packing: Packing) -> u8 {
    let format = match format {
        Format::MessagePack => 1,
        Format::Json => 2,
    };
    let packing = match packing {
        Packing::Plain => 0,
        Packing::Lz4 => 1,
        Packing::Zstd => 2,
    };
    packing << 4 | format
}

pub(super) fn open(bytes: &[u8]) -> Result<(Format, Packing, &[u8]), CodecError> {
    let (first, rest) = bytes.split_first().ok_or(CodecError::Empty)?;
    if *first != VERSION {
        return Err(CodecError::ForeignVersion { found: *first });
    }
    let (second, payload) = rest.split_first().ok_or(CodecError::Truncated)?;
    let unknown = CodecError::UnknownFormat { found: *second };
    let format = match second & 0x0F {
        1 => Format::MessagePack,
        2 => Format::Json,
        _ => return Err(unknown),
    };
    let packing = match second >> 4 {
        0 => Packing::Plain,
        1 => Packing::Lz4,
        2 => Packing::Zstd,
        _ => return Err(unknown),
    };
    Ok((format, packing, payload))
}

impl From<Compression> for Packing {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::Plain,
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd { .. } => Self::Zstd,
        }
    }
}
