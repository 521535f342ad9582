//! What tells that a connection which lives is deaf.

use crate::{Error, ErrorKind};

/// The fields of `CLIENT INFO` that count subscriptions. The last exists since Redis 7.0.3.
const COUNTS: [&str; 3] = ["sub", "psub", "ssub"];

/// Compares the server's counts with what it has confirmed. Both are of the same moment, because it answers in order.
pub(super) fn compare(info: &[u8], held: [u64; 3]) -> Result<(), Error> {
    let info = std::str::from_utf8(info).unwrap_or_default();
    let counted = COUNTS.map(|wanted| {
        info.split_ascii_whitespace()
            .filter_map(|field| field.split_once('='))
            .find(|(name, _)| *name == wanted)
            .map(|(_, count)| count.parse::<u64>().ok())
    });
    let agree =
        |(counted, held): (Option<Option<u64>>, u64)| counted.is_none_or(|n| n == Some(held));
    if counted[0].is_none() {
        let wrong = "another answer than that of `CLIENT INFO`";
        return Err(Error::unknown(ErrorKind::Desync(wrong.into())));
    }
    if counted.into_iter().zip(held).all(agree) {
        return Ok(());
    }
    let reason = format!("the server counts other subscriptions than the {held:?} it confirmed");
    Err(Error::unknown(ErrorKind::ConnectionLost(reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_counts_are_found_and_absent_ones_are_not_missed() {
        let agree = |info: &str| compare(info.as_bytes(), [2, 1, 3]).is_ok();
        assert!(agree("id=5 name= sub=2 psub=1 ssub=3 multi=-1\n"));
        assert!(agree("id=5 sub=2 psub=1"), "a server before 7.0.3");
        for other in ["sub=1 psub=1 ssub=3", "sub=2 psub=0 ssub=3", "sub=2 psub=1 ssub=4"] {
            assert!(!agree(other), "{other}");
        }
        assert!(!agree("OK") && !agree("") && !agree("sub=x psub=1"));
        assert!(!agree("name=sub=2 psub=1"), "another field's value");
    }
}
