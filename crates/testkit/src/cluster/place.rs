//! Where the others and clients reach a node of a cluster that can be cut in two.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;

use super::gate::Gate;
use crate::port::TO_BUS;
use crate::{Error, Network, Result, Server};

/// The second part of the addresses that nodes come from; clients come from 127.0.0.1.
pub(super) const NODES: u8 = 77;

/// Who is cut off, and by what.
#[derive(Debug)]
pub(super) struct Wall {
    cut: watch::Sender<Cut>,
    /// What loses their packets; without it gates hold them up.
    network: Option<Arc<Network>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) nodes: BTreeSet<Ipv4Addr>,
    /// Whether clients are on the other side.
    pub(super) from_clients: bool,
}

/// A loopback address of a node's own (all of 127/8 is loopback), from which it reaches the others.
#[derive(Clone, Debug)]
pub(super) struct Place {
    source: Ipv4Addr,
    /// By which the others reach it; without it they reach it at its address.
    gate: Option<Arc<Gate>>,
}

impl Wall {
    pub(super) fn new(network: Option<Arc<Network>>) -> Wall {
        Wall { cut: watch::channel(Cut::default()).0, network }
    }

    pub(super) fn far(&self) -> BTreeSet<Ipv4Addr> {
        self.cut.borrow().nodes.clone()
    }

    pub(super) fn set(&self, cut: Cut) -> Result<()> {
        if let Some(network) = &self.network {
            let far: Vec<String> = cut.nodes.iter().map(Ipv4Addr::to_string).collect();
            let pair = |from: &str, to: &str| [from.to_owned(), to.to_owned()];
            let kept: Vec<_> =
                far.iter().flat_map(|one| far.iter().map(move |other| pair(one, other))).collect();
            let nodes = format!("127.{NODES}.0.0/16");
            let clients = Ipv4Addr::LOCALHOST.to_string();
            let others = [Some(&nodes), cut.from_clients.then_some(&clients)];
            let both = |one: &String| {
                let others = others.iter().flatten();
                others.flat_map(|other| [pair(one, other), pair(other, one)]).collect::<Vec<_>>()
            };
            network.lose(&kept, &far.iter().flat_map(both).collect::<Vec<_>>())?;
        }
        self.cut.send_replace(cut);
        Ok(())
    }

    /// That of the nth node.
    pub(super) async fn place(&self, n: usize) -> Result<Place> {
        let n = u16::try_from(n).map_err(|_| Error::Config {
            field: "partitions",
            reason: "there are no loopback addresses for so many nodes".to_owned(),
        })?;
        let [high, low] = n.to_be_bytes();
        let source = Ipv4Addr::new(127, NODES, high, low);
        let gate = match self.network {
            Some(_) => None,
            None => Some(Arc::new(Gate::open(source, &self.cut).await?)),
        };
        Ok(Place { source, gate })
    }
}

impl Place {
    pub(super) fn source(&self) -> Ipv4Addr {
        self.source
    }

    /// What its node must be told.
    pub(super) fn directives(&self) -> Vec<(&'static str, String)> {
        let source = self.source.to_string();
        let mut directives = match &self.gate {
            Some(gate) => gate.directives(),
            // Clients that pass by the cut come by the other.
            None => vec![
                ("bind", format!("{} {source}", Ipv4Addr::LOCALHOST)),
                ("cluster-announce-ip", source.clone()),
            ],
        };
        directives.push(("bind-source-addr", source));
        directives
    }

    /// Its node has this port from now on.
    pub(super) fn lead_to(&self, port: u16) {
        if let Some(gate) = &self.gate {
            gate.lead_to(port);
        }
    }

    pub(super) fn addr(&self, node: &Server) -> SocketAddr {
        match &self.gate {
            Some(gate) => gate.client().addr(),
            None => (self.source, node.port()).into(),
        }
    }

    pub(super) fn bus(&self, node: &Server) -> u16 {
        self.gate.as_ref().map_or_else(|| node.port() + TO_BUS, |gate| gate.bus().number())
    }
}
