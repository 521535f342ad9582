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

/// CRC-16/XMODEM: polynomial 0x1021, start 0, neither reflected nor inverted. Four bytes at a time: one by one, each would
/// wait for the one before.
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    let [first, second, third, fourth] = &TABLES;
    let at = |table: &[u16; 256], byte: u8| table[usize::from(byte)];
    let (fours, rest) = bytes.as_chunks::<4>();
    let crc = fours.iter().fold(0_u16, |crc, [a, b, c, d]| {
        let [high, low] = crc.to_be_bytes();
        at(fourth, a ^ high) ^ at(third, b ^ low) ^ at(second, *c) ^ at(first, *d)
    });
    rest.iter().fold(crc, |crc, byte| {
        let [high, _] = crc.to_be_bytes();
        (crc << 8) ^ at(first, byte ^ high)
    })
}

/// Of each byte, with none to three zeros behind it.
static TABLES: [[u16; 256]; 4] = {
    let mut tables = [[0; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut zeros = 0;
        while zeros < 4 {
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
                bit += 1;
            }
            tables[zeros][byte] = crc;
            zeros += 1;
        }
        byte += 1;
    }
    tables
};
