//! Few bytes that claim to be many, or become them.

use std::io::Write as _;

use crate::codec::{Codec, CodecError};

const GIB: u64 = 1 << 30;

fn zstd_of_zeros(length: u64) -> Vec<u8> {
    let bomb = vec![0xC1, 0x21];
    let mut encoder = zstd::stream::write::Encoder::new(bomb, 1).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), length), &mut encoder).unwrap();
    encoder.flush().unwrap();
    encoder.finish().unwrap()
}

/// A block of zeros is one literal, a match of any length at distance 1, and five last literals.
fn lz4_of_zeros(length: u64, claimed: u32) -> Vec<u8> {
    let mut bomb = vec![0xC1, 0x11];
    bomb.extend_from_slice(&claimed.to_le_bytes());
    bomb.extend_from_slice(b"\x1F\0\x01\0");
    let more = length - 1 - 5 - 4 - 15;
    bomb.resize(bomb.len() + usize::try_from(more / 255).unwrap(), 255);
    bomb.push((more % 255) as u8);
    bomb.extend_from_slice(b"\x50\0\0\0\0\0");
    bomb
}

#[test]
fn lz4_lengths_are_not_believed() {
    let read = |bytes: &[u8]| Codec::default().decode::<serde::de::IgnoredAny>(bytes).map(drop);
    // The bomb is well-formed: told the truth and within the cap, it gets as far as the format.
    let honest = read(&lz4_of_zeros(1 << 20, 1 << 20));
    assert!(matches!(honest, Err(CodecError::Corrupt { .. })), "{honest:?}");
    let honest = read(&lz4_of_zeros(GIB, 1 << 30));
    assert!(matches!(honest, Err(CodecError::TooLarge { cap: 16_777_216 })), "{honest:?}");
    let too_little = read(&lz4_of_zeros(GIB, 100));
    assert!(matches!(too_little, Err(CodecError::Corrupt { .. })), "{too_little:?}");
    let too_much = read(b"\xC1\x11\0\0\0\x01\x10\0");
    assert!(matches!(too_much, Err(CodecError::Truncated)), "{too_much:?}");
}

#[test]
fn zstd_windows_are_bounded_by_the_cap() {
    let mut encoder = zstd::stream::write::Encoder::new(vec![0xC1, 0x21], 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(b"\x07").unwrap();
    encoder.flush().unwrap();
    let wide = encoder.finish().unwrap();
    let read = Codec::default().decode::<u8>(&wide);
    assert!(matches!(read, Err(CodecError::TooLarge { .. })), "{read:?}");
    let large = Codec::builder().max_decoded(128 << 20).build().unwrap();
    assert_eq!(large.decode::<u8>(&wide).unwrap(), 7);
}

/// The peak of memory belongs to a process, so each bomb goes off in a process of its own.
mod peak {
    use std::process::{Command, Stdio};

    use super::*;

    const CHILD: &str = "codec::tests::bombs::peak::decodes_what_it_is_handed";

    fn peak_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    #[ignore = "run as a child process by the test below"]
    fn decodes_what_it_is_handed() {
        let mut bomb = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bomb).unwrap();
        let before = peak_kib();
        let read = Codec::default().decode::<serde::de::IgnoredAny>(&bomb).map(drop);
        println!("\nresult={read:?} grown_kib={}", peak_kib() - before);
    }

    fn explode(bomb: &[u8]) -> (String, u64) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", CHILD, "--ignored", "--nocapture", "--test-threads=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bomb).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("result=")).expect(&text);
        let (result, grown) = line.split_once(" grown_kib=").unwrap();
        (result.to_owned(), grown.parse().unwrap())
    }

    #[test]
    fn a_gibibyte_is_refused_without_being_allocated() {
        let cap_kib = 16 << 10;
        let zstd = zstd_of_zeros(GIB);
        assert!((32_000..36_000).contains(&zstd.len()), "{} bytes", zstd.len());
        for bomb in [zstd, lz4_of_zeros(GIB, 1 << 30), lz4_of_zeros(GIB, 16 << 20)] {
            let (result, grown) = explode(&bomb);
            let refused = result == "Err(TooLarge { cap: 16777216 })"
                || result.starts_with("Err(Corrupt") && bomb[1] == 0x11;
            assert!(refused, "{result}");
            assert!(grown < 2 * cap_kib, "{grown} KiB for a cap of {cap_kib}");
        }
        // What is within the cap does grow: the measure is no constant.
        let (_, grown) = explode(&zstd_of_zeros(15 << 20));
        assert!(grown >= 15 << 10, "{grown} KiB");
    }
}
