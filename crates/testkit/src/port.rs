use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use crate::{Error, Result};

/// Below the range from which systems hand out ports by themselves (32768 and up), so that nobody is given the port
/// of a server that is down for a moment; a cluster's bus, 10000 above, stays below it too.
const RANGE: std::ops::Range<u16> = 11_000..22_000;

/// Ports that a server or proxy of this process holds, whether it listens at the moment or not.
static HELD: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port on 127.0.0.1 that nobody else in this process will choose.
#[derive(Debug)]
pub(crate) struct Port(u16);

impl Port {
    /// A port that was free a moment ago. Another process may still be faster.
    pub(crate) fn free() -> Result<Port> {
        for _ in 0..1000 {
            let span = u64::from(RANGE.end - RANGE.start);
            let port = RANGE.start + u16::try_from(random() % span).unwrap_or(0);
            let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
            if held {
                let port = Port(port);
                if TcpListener::bind(port.addr()).is_ok() {
                    return Ok(port);
                }
            }
        }
        Err(Error::Config { field: "port", reason: format!("none is free in {RANGE:?}") })
    }

    pub(crate) fn fixed(port: u16) -> Port {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
        Port(port)
    }

    pub(crate) fn number(&self) -> u16 {
        self.0
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.0).into()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        HELD.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// The standard library's own source of randomness, which needs no dependency.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
