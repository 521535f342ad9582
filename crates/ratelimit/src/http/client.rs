//! Who a request comes from.

use std::net::{IpAddr, SocketAddr};

use http::HeaderName;
use http::header::FORWARDED;
use http::request::Parts;

use crate::Ip;
use crate::error::Error;

/// How many proxies of one's own stand between clients and this service, and so which address is the client's.
///
/// Each proxy adds the address of who has connected to it at the right end of `X-Forwarded-For`; what stands further to the
/// left came from outside, and may be made up. So with `n` hops it is the n-th address from the right:
///
/// ```
/// # use http::Request;
/// # use russet_ratelimit::http::TrustedProxies;
/// // A client that says that it is 6.6.6.6, a CDN, a load balancer.
/// let request = Request::get("/").header("x-forwarded-for", "6.6.6.6, 203.0.113.9, 198.51.100.1");
/// let (parts, ()) = request.body(()).unwrap().into_parts();
/// assert_eq!(TrustedProxies::hops(2).client(&parts), "203.0.113.9".parse().ok());
/// ```
///
/// Where there are fewer addresses than hops, or there is something else in that place, it is the peer's: that of the last
/// proxy, so that whoever sends nonsense past it shares its limit with others who do. What is called the peer's is a
/// [`SocketAddr`] in the request's extensions: with the feature `axum` that of `ConnectInfo`, else one that was put there
/// as it is.
///
/// Of IPv6 the first 64 bits count, or as many as [`ipv6_prefix`](Self::ipv6_prefix) says: see [`Ip`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies {
    hops: usize,
    header: HeaderName,
    prefix: u8,
}

impl TrustedProxies {
    /// Clients connect to this service itself: no header is looked at.
    pub fn none() -> Self {
        Self::hops(0)
    }

    /// So many proxies, each of which adds to `X-Forwarded-For`.
    pub fn hops(hops: usize) -> Self {
        Self { hops, header: HeaderName::from_static("x-forwarded-for"), prefix: 64 }
    }

    /// They add to `Forwarded` (RFC 7239) instead; `X-Forwarded-For` is not looked at then.
    #[must_use]
    pub fn forwarded(mut self) -> Self {
        self.header = FORWARDED;
        self
    }

    /// How much of an IPv6 address is one client's: 64 bits by default, often 56 or 48 with providers.
    #[must_use]
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        self.prefix = bits;
        self
    }

    /// The client's address; `None` where the peer's is needed and not known.
    pub fn client(&self, request: &Parts) -> Option<IpAddr> {
        self.told(request).or_else(|| peer(request))
    }

    /// The client's address as a subject.
    ///
    /// # Errors
    /// [`Error::Config`] where the peer's is needed and not known: a service that is not told of its peers is set up
    /// wrongly, and a limit that did not apply then would be none.
    pub fn subject(&self, request: &Parts) -> Result<Ip, Error> {
        let unknown = || Error::Config {
            field: "client",
            problem: "the peer's address is not known".to_owned(),
            allowed: "a SocketAddr in the request's extensions: \
                      of axum, into_make_service_with_connect_info::<SocketAddr>()",
        };
        self.client(request).map(|ip| Ip::with_prefix(ip, self.prefix)).ok_or_else(unknown)
    }

    /// What the trusted proxies say.
    fn told(&self, request: &Parts) -> Option<IpAddr> {
        let place = self.hops.checked_sub(1)?;
        let lines = request.headers.get_all(&self.header);
        // No address has a comma in it, also not in quotes; from the right, nothing that came from outside can shift
        // what follows it.
        let mut entries =
            lines.iter().rev().flat_map(|line| line.as_bytes().rsplit(|c| *c == b','));
        let entry = std::str::from_utf8(entries.nth(place)?).ok()?.trim();
        if self.header == FORWARDED { forwarded_for(entry) } else { address(entry) }
    }
}

fn peer(request: &Parts) -> Option<IpAddr> {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::ConnectInfo(peer)) = request.extensions.get() {
        let peer: &SocketAddr = peer;
        return Some(peer.ip());
    }
    request.extensions.get::<SocketAddr>().map(SocketAddr::ip)
}

/// Of an element of `Forwarded`, who it was for.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    let node = node.trim();
    address(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node))
}

/// An address as proxies write it: with or without a port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    if let Ok(with_port) = text.parse::<SocketAddr>() {
        return Some(with_port.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const PEER: &str = "10.0.0.9";

    fn client(proxies: &TrustedProxies, header: &str, lines: &[&str]) -> String {
        let mut request = Request::builder();
        for line in lines {
            request = request.header(header, *line);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(SocketAddr::new(PEER.parse().unwrap(), 7));
        proxies.client(&parts).unwrap().to_string()
    }

    #[test]
    fn the_client_is_found_from_the_right() {
        let of =
            |hops, lines: &[&str]| client(&TrustedProxies::hops(hops), "x-forwarded-for", lines);
        assert_eq!(of(0, &["1.1.1.1"]), PEER);
        assert_eq!(of(1, &["6.6.6.6, 1.1.1.1"]), "1.1.1.1");
        assert_eq!(of(2, &["6.6.6.6, 1.1.1.1 , 2.2.2.2"]), "1.1.1.1");
        assert_eq!(of(2, &["6.6.6.6,1.1.1.1", "2.2.2.2"]), "1.1.1.1");
        assert_eq!(of(1, &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(of(1, &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(of(1, &["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(of(1, &["1.1.1.1:4711"]), "1.1.1.1");
    }

    #[test]
    fn what_is_malformed_is_the_peers() {
        let of =
            |hops, lines: &[&str]| client(&TrustedProxies::hops(hops), "x-forwarded-for", lines);
        for line in ["", "unknown", "1.1.1.1,", "1.1.1.1, x", "1.1.1.1.1", "1.1.1.1; 2.2.2.2", "[1"]
        {
            assert_eq!(of(1, &[line]), PEER, "{line}");
        }
        assert_eq!(of(1, &[]), PEER);
        assert_eq!(of(3, &["1.1.1.1, 2.2.2.2"]), PEER);
        assert_eq!(of(usize::MAX, &["1.1.1.1"]), PEER);
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_says() {
        let proxies = TrustedProxies::hops(1).forwarded();
        let of = |line| client(&proxies, "forwarded", &[line]);
        assert_eq!(of("for=6.6.6.6, For=\"[2001:db8::1]:4711\";proto=https"), "2001:db8::1");
        assert_eq!(of("by=3.3.3.3; for=1.1.1.1"), "1.1.1.1");
        assert_eq!(of("for=\"6.6.6.6, for=1.1.1.1"), "1.1.1.1");
        for line in ["for=unknown", "for=_hidden", "proto=https", "for=1.1.1.1, by=2.2.2.2", "for"]
        {
            assert_eq!(of(line), PEER, "{line}");
        }
        assert_eq!(client(&proxies, "x-forwarded-for", &["1.1.1.1"]), PEER);
    }

    #[test]
    fn a_peer_that_is_not_known_is_an_error() {
        let (parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        let error = TrustedProxies::hops(1).subject(&parts).unwrap_err().to_string();
        assert!(error.contains("into_make_service_with_connect_info"), "{error}");
    }
}
