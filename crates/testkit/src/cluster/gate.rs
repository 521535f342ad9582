//! What stands before a node when its cluster can be partitioned.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::place::{Cut, NODES};
use crate::port::{Port, TO_BUS};
use crate::{Error, Result};

/// How often other ports are tried when another process was faster.
const TRIES: u32 = 20;

/// The two ports by which other nodes and clients reach a node.
///
/// A node connects from an address of its own, so the gate of the other end knows who comes, and holds up those from whom
/// its node is cut off: their bytes wait, new connections are not passed on, and nobody is told. So it looks to both ends
/// as if packets were lost; once open again, all goes on.
#[derive(Debug)]
pub(super) struct Gate {
    client: Port,
    bus: Port,
    tasks: [AbortHandle; 2],
    /// The node's own port, once it has one.
    target: Arc<OnceLock<u16>>,
}

impl Gate {
    /// For the node that connects from there.
    pub(super) async fn open(source: Ipv4Addr, cut: &watch::Sender<Cut>) -> Result<Gate> {
        let target = Arc::default();
        let (client, first) = listen(0, source, &target, cut).await?;
        let (bus, second) = listen(TO_BUS, source, &target, cut).await?;
        Ok(Gate { client, bus, tasks: [first, second], target })
    }

    /// What its node must be told.
    pub(super) fn directives(&self) -> Vec<(&'static str, String)> {
        vec![
            ("cluster-announce-ip", Ipv4Addr::LOCALHOST.to_string()),
            ("cluster-announce-port", self.client.number().to_string()),
            ("cluster-announce-bus-port", self.bus.number().to_string()),
        ]
    }

    /// Passes on to the node with this port from now on.
    pub(super) fn lead_to(&self, port: u16) {
        self.target.get_or_init(|| port);
    }

    pub(super) fn client(&self) -> &Port {
        &self.client
    }

    pub(super) fn bus(&self) -> &Port {
        &self.bus
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Cut {
    /// Whether nothing passes between a node and whoever comes from an address.
    fn parts(&self, source: IpAddr, node: Ipv4Addr) -> bool {
        let far = self.nodes.contains(&node);
        match source {
            IpAddr::V4(source) if source.octets()[1] == NODES => {
                far != self.nodes.contains(&source)
            }
            _ => far && self.from_clients,
        }
    }
}

async fn listen(
    offset: u16,
    node: Ipv4Addr,
    target: &Arc<OnceLock<u16>>,
    cut: &watch::Sender<Cut>,
) -> Result<(Port, AbortHandle)> {
    let mut tries = 0;
    let (port, listener) = loop {
        tries += 1;
        let port = Port::free()?;
        match TcpListener::bind(port.addr()).await {
            Ok(listener) => break (port, listener),
            Err(_) if tries < TRIES => {}
            Err(error) => return Err(Error::io(format!("listen on {}", port.addr()))(error)),
        }
    };
    let (target, cut) = (Arc::clone(target), cut.subscribe());
    let task = tokio::spawn(async move {
        let mut lines = JoinSet::new();
        // It fails only while there are too many files, which passes.
        loop {
            let Ok((near, from)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            while lines.try_join_next().is_some() {}
            let Some(port) = target.get() else { continue };
            let to = (Ipv4Addr::LOCALHOST, port + offset).into();
            lines.spawn(carry(near, from.ip(), node, to, cut.clone()));
        }
    });
    Ok((port, task.abort_handle()))
}

/// One connection.
async fn carry(
    near: TcpStream,
    source: IpAddr,
    node: Ipv4Addr,
    to: SocketAddr,
    mut cut: watch::Receiver<Cut>,
) {
    if cut.wait_for(|cut| !cut.parts(source, node)).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(to).await else { return };
    // Only latency is at stake.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let there = copy(near_in, far_out, source, node, cut.clone());
    let back = copy(far_in, near_out, source, node, cut);
    tokio::join!(there, back);
}

/// One direction, until its end.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    source: IpAddr,
    node: Ipv4Addr,
    mut cut: watch::Receiver<Cut>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        // Also the end waits.
        if cut.wait_for(|cut| !cut.parts(source, node)).await.is_err() {
            return;
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() || to.write_all(bytes).await.is_err() {
            // Dropping both halves of this direction ends it at both ends.
            return;
        }
    }
}
