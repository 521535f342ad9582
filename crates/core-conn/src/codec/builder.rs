use super::{Codec, CodecError};

/// How a value becomes bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// MessagePack, structs as maps with named fields.
    #[default]
    MessagePack,
    /// JSON. Needs the feature `json`.
    Json,
}

/// How encoded bytes become fewer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// They do not.
    #[default]
    None,
    /// LZ4, the quickest. Needs the feature `lz4`.
    Lz4,
    /// Zstandard, the smallest. Needs the feature `zstd`.
    Zstd {
        /// 1 (quick) to 22 (small); 1 to 3 suit values that are written often.
        level: i32,
    },
}

/// The options of a [`Codec`]. From [`Codec::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct CodecBuilder {
    codec: Codec,
}

const LARGEST_CAP: usize = 512 << 20;

impl CodecBuilder {
    /// The format of what is written. MessagePack by default.
    pub fn format(mut self, format: Format) -> Self {
        self.codec.format = format;
        self
    }

    /// The compression of what is written. None by default, whichever features are compiled in.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.codec.compression = compression;
        self
    }

    /// From how many encoded bytes on a value is compressed; 1,024 by default.
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.codec.threshold = bytes;
        self
    }

    /// The most bytes a value may take before compression, written or read; 16 MiB by default.
    pub fn max_decoded(mut self, bytes: usize) -> Self {
        self.codec.max_decoded = bytes;
        self
    }

    /// The codec.
    ///
    /// # Errors
    ///
    /// [`CodecError::Setting`] if `max_decoded` is 0 or above 512 MiB (which no value in Redis
    /// exceeds), if `threshold` is above `max_decoded`, or if a zstd level is not 1 to 22;
    /// [`CodecError::Unsupported`] if the feature of the format or compression is not compiled in.
    pub fn build(self) -> Result<Codec, CodecError> {
        let Codec { format, compression, threshold, max_decoded } = self.codec;
        let setting = |field, found: usize, allowed| CodecError::Setting {
            field,
            found: i64::try_from(found).unwrap_or(i64::MAX),
            allowed,
        };
        if max_decoded == 0 || max_decoded > LARGEST_CAP {
            return Err(setting("max_decoded", max_decoded, "1 byte to 512 MiB"));
        }
        if threshold > max_decoded {
            return Err(setting("threshold", threshold, "at most max_decoded"));
        }
        if let Compression::Zstd { level } = compression
            && !(1..=22).contains(&level)
        {
            return Err(CodecError::Setting {
                field: "compression",
                found: level.into(),
                allowed: "a zstd level of 1 to 22",
            });
        }
        let missing = match (format, compression) {
            (Format::Json, _) if cfg!(not(feature = "json")) => Some("json"),
            (_, Compression::Lz4) if cfg!(not(feature = "lz4")) => Some("lz4"),
            (_, Compression::Zstd { .. }) if cfg!(not(feature = "zstd")) => Some("zstd"),
            _ => None,
        };
        match missing {
            Some(what) => Err(CodecError::Unsupported { what }),
            None => Ok(self.codec),
        }
    }

    pub(super) fn new() -> Self {
        Self { codec: Codec::default() }
    }
}
