use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};

/// Below the range from which systems hand out ports by themselves (32768 and up), so that nobody is given the port
/// of a server that is down for a moment; a cluster's bus, 10000 above, stays below it too.
const RANGE: std::ops::Range<u16> = 11_000..22_000;

/// Ports that a server or proxy of this process holds, whether it listens at the moment or not.
static HELD: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// How far above its port a node of a cluster listens for the others.
pub(crate) const TO_BUS: u16 = 10_000;

/// A port on 127.0.0.1 that nobody else in this process will choose, and with it the port of a cluster's bus if there
/// is one.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    bus: Option<Box<Port>>,
}

impl Port {
    /// A port that was free a moment ago. Another process may still be faster.
    pub(crate) fn free() -> Result<Port> {
        for _ in 0..1000 {
            let span = u64::from(RANGE.end - RANGE.start);
            let number = RANGE.start + u16::try_from(random() % span).unwrap_or(0);
            if let Some(port) = Port::claim(number) {
                return Ok(port);
            }
        }
        Err(none_free())
    }

    /// A port of which also the bus port was free a moment ago.
    pub(crate) fn free_with_bus() -> Result<Port> {
        for _ in 0..1000 {
            let mut port = Port::free()?;
            port.bus = Port::claim(port.number + TO_BUS).map(Box::new);
            if port.bus.is_some() {
                return Ok(port);
            }
        }
        Err(none_free())
    }

    pub(crate) fn fixed(number: u16) -> Port {
        held().insert(number);
        Port { number, bus: None }
    }

    /// None if somebody has it.
    fn claim(number: u16) -> Option<Port> {
        let new = held().insert(number);
        let port = new.then_some(Port { number, bus: None })?;
        TcpListener::bind(port.addr()).is_ok().then_some(port)
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        held().remove(&self.number);
    }
}

fn held() -> MutexGuard<'static, BTreeSet<u16>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn none_free() -> Error {
    Error::Config { field: "port", reason: format!("none is free in {RANGE:?}") }
}

/// The standard library's own source of randomness, which needs no dependency.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_port_is_held_too() {
        let port = Port::free_with_bus().unwrap();
        let bus = port.number() + TO_BUS;
        assert!(Port::claim(port.number()).is_none() && Port::claim(bus).is_none());
        drop(port);
        assert!(!held().contains(&bus));
    }

    #[test]
    fn a_port_in_use_is_not_claimed() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(Port::claim(taken.local_addr().unwrap().port()).is_none());
    }
}
