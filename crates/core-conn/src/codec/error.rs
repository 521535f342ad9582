use std::error::Error;

/// Why a value could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// There are no bytes.
    #[error("no bytes to decode")]
    Empty,
    /// The bytes end too early.
    #[error("the encoded value ends too early")]
    Truncated,
    /// The first byte is none of ours: something else wrote the value, or a later version did.
    #[error("the first byte is {found:#04x}; this version reads 0xc1")]
    ForeignVersion {
        /// The first byte.
        found: u8,
    },
    /// The second byte names no format and compression.
    #[error("the second byte is {found:#04x}, which names no format and compression")]
    UnknownFormat {
        /// The second byte.
        found: u8,
    },
    /// The format or compression is known, but its feature is not compiled in.
    #[error("{what} needs the feature of that name, which is not compiled in")]
    Unsupported {
        /// The name of the feature: `json`, `lz4` or `zstd`.
        what: &'static str,
    },
    /// The value is, or would become, larger than the cap. Nothing beyond the cap was allocated.
    #[error("the value takes more than {cap} bytes before compression")]
    TooLarge {
        /// The cap in bytes.
        cap: usize,
    },
    /// The value nests deeper than any value may.
    #[error("the value nests deeper than {cap} levels")]
    TooDeep {
        /// How many levels of sequences, maps and enums are allowed.
        cap: usize,
    },
    /// The bytes do not hold a value of the type asked for, or not only that.
    #[error("the bytes are corrupt, or of another type")]
    Corrupt {
        /// What the format or the compression says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The value can't be written in this format, such as a map in JSON whose keys are not text.
    #[error("the value can't be written in this format")]
    Encode {
        /// What the format or the compression says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A setting of the builder is out of bounds.
    #[error("{field}: {found}; allowed is {allowed}")]
    Setting {
        /// The method of the builder.
        field: &'static str,
        /// What it was given.
        found: i64,
        /// What it takes.
        allowed: &'static str,
    },
}

impl CodecError {
    pub(super) fn corrupt(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Corrupt { source: source.into() }
    }

    pub(super) fn encode(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Encode { source: source.into() }
    }
}
