//! Payloads to fewer bytes and back, never more of them than the cap allows.

use std::borrow::Cow;

use super::envelope::Packing;
use super::{CodecError, Compression};

/// The compressed payload, or `None` if it is to stay as it is.
pub(super) fn shrink(
    compression: Compression,
    #[cfg_attr(
        not(any(feature = "lz4", feature = "zstd")),
        expect(unused_variables, reason = "nothing compresses")
    )]
    payload: &[u8],
) -> Result<Option<Vec<u8>>, CodecError> {
    match compression {
        Compression::None => Ok(None),
        #[cfg(feature = "lz4")]
        Compression::Lz4 => Ok(Some(lz4_flex::block::compress_prepend_size(payload))),
        #[cfg(feature = "zstd")]
        Compression::Zstd { level } => {
            zstd::bulk::compress(payload, level).map(Some).map_err(CodecError::encode)
        }
        #[cfg(not(feature = "lz4"))]
        Compression::Lz4 => Err(CodecError::Unsupported { what: "lz4" }),
        #[cfg(not(feature = "zstd"))]
        Compression::Zstd { .. } => Err(CodecError::Unsupported { what: "zstd" }),
    }
}

/// The payload as it was before compression.
pub(super) fn expand(
    packing: Packing,
    payload: &[u8],
    cap: usize,
) -> Result<Cow<'_, [u8]>, CodecError> {
    match packing {
        Packing::Plain if payload.len() > cap => Err(CodecError::TooLarge { cap }),
        Packing::Plain => Ok(Cow::Borrowed(payload)),
        #[cfg(feature = "lz4")]
        Packing::Lz4 => lz4::expand(payload, cap).map(Cow::Owned),
        #[cfg(feature = "zstd")]
        Packing::Zstd => zstandard::expand(payload, cap).map(Cow::Owned),
        #[cfg(not(feature = "lz4"))]
        Packing::Lz4 => Err(CodecError::Unsupported { what: "lz4" }),
        #[cfg(not(feature = "zstd"))]
        Packing::Zstd => Err(CodecError::Unsupported { what: "zstd" }),
    }
}

/// One block behind its decoded length (4 bytes, little-endian). The frame format would add
/// buffers of 64 KiB and more to each call, whatever the cap.
#[cfg(feature = "lz4")]
mod lz4 {
    use lz4_flex::block::decompress_into;

    use crate::codec::CodecError;

    /// No byte of a block stands for more bytes than this.
    const LARGEST_RATIO: usize = 255;

    pub(super) fn expand(payload: &[u8], cap: usize) -> Result<Vec<u8>, CodecError> {
        let (length, block) = payload.split_first_chunk().ok_or(CodecError::Truncated)?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > cap {
            return Err(CodecError::TooLarge { cap });
        }
        if length > block.len().saturating_mul(LARGEST_RATIO) {
            return Err(CodecError::Truncated);
        }
        // The length is only believed as far as this buffer goes; the decoder stops at its end.
        let mut out = vec![0; length];
        let written = decompress_into(block, &mut out).map_err(CodecError::corrupt)?;
        if written < length { Err(CodecError::Truncated) } else { Ok(out) }
    }
}

/// One frame. The size it states is not asked for: what comes out is counted.
#[cfg(feature = "zstd")]
mod zstandard {
    use std::io::{self, Read};

    use zstd::stream::read::Decoder;
    use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge;

    use crate::codec::CodecError;

    pub(super) fn expand(frame: &[u8], cap: usize) -> Result<Vec<u8>, CodecError> {
        let mut decoder = Decoder::with_buffer(frame).map_err(CodecError::corrupt)?.single_frame();
        decoder.window_log_max(window_log(cap)).map_err(CodecError::corrupt)?;
        let mut out = Vec::new();
        let mut capped = decoder.by_ref().take(cap as u64 + 1);
        capped.read_to_end(&mut out).map_err(|error| typed(error, cap))?;
        if out.len() > cap {
            return Err(CodecError::TooLarge { cap });
        }
        match decoder.finish() {
            [] => Ok(out),
            _ => Err(CodecError::corrupt("bytes follow the frame")),
        }
    }

    /// The decoder allocates a window of the size that the frame asks for. Nothing that fits the
    /// cap needs one larger than the cap; the bounds are those of the format and of our writer.
    fn window_log(cap: usize) -> u32 {
        cap.next_power_of_two().ilog2().clamp(10, 27)
    }

    fn typed(error: io::Error, cap: usize) -> CodecError {
        let zstd = error.get_ref().and_then(|e| e.downcast_ref::<zstd::Error>());
        if zstd.is_some_and(|e| e.is(ZSTD_error_frameParameter_windowTooLarge)) {
            CodecError::TooLarge { cap }
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            CodecError::Truncated
        } else {
            CodecError::corrupt(error)
        }
    }
}
