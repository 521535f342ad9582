//! Addresses as subjects.

use std::net::{IpAddr, Ipv6Addr};

use russet_core_conn::{Part, Segment, Segments};

/// An address as a subject. Of IPv6 only the prefix counts, 64 bits by default: whoever has one address there has all of
/// them. An IPv4 address that is written as IPv6 is that IPv4 address.
///
/// ```
/// use russet_core_conn::Canonical;
/// use russet_ratelimit::Ip;
///
/// let [one, other] = ["2001:db8::1", "2001:db8::ffff:2"].map(|ip| ip.parse().unwrap());
/// assert_eq!(Canonical::of(&Ip::new(one)), Canonical::of(&Ip::new(other)));
/// assert_ne!(Canonical::of(&Ip::with_prefix(one, 128)), Canonical::of(&Ip::with_prefix(other, 128)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ip(String);

impl Ip {
    /// An address, of IPv6 the first 64 bits.
    pub fn new(ip: IpAddr) -> Self {
        Self::with_prefix(ip, 64)
    }

    /// An address, of IPv6 so many bits; more than 128 are 128.
    pub fn with_prefix(ip: IpAddr, bits: u8) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self(ip.to_string()),
            IpAddr::V6(ip) => {
                let bits = bits.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                Self(format!("{}/{bits}", Ipv6Addr::from_bits(ip.to_bits() & mask)))
            }
        }
    }
}

impl From<IpAddr> for Ip {
    fn from(ip: IpAddr) -> Self {
        Self::new(ip)
    }
}

impl Segment for Ip {
    fn part(&self) -> Part<'_> {
        Part::from(self.0.as_str())
    }
}

impl Segments for Ip {
    fn each(&self, mut visit: impl FnMut(Part<'_>)) {
        visit(self.part());
    }
}
