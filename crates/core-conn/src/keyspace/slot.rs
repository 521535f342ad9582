//! The hash slot of a key, as the Redis Cluster specification defines it.

pub(crate) const SLOTS: u16 = 16_384;

/// The slot of `key`: only what stands between the first `{` and the first `}` after it counts, if
/// there is any.
pub(crate) fn of(key: &[u8]) -> u16 {
    crc16(hash_tag(key).unwrap_or(key)) % SLOTS
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|b| *b == b'{')?;
    let inside = &key[open + 1..];
    let close = inside.iter().position(|b| *b == b'}')?;
    (close > 0).then(|| &inside[..close])
}

/// CRC-16/XMODEM: polynomial 0x1021, start 0, neither reflected nor inverted.
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

static TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};
