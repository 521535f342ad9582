//! A TCP proxy that knows where requests and replies begin and end.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use crate::port::Port;
use crate::{Error, Result};

mod connection;
mod counters;
mod line;
mod link;
mod request;
mod rule;
mod shared;

pub use counters::Counters;
pub use rule::{Fault, Match};

use rule::Action;
use shared::Shared;

/// How often other ports are tried when another process was faster.
const TRIES: u32 = 20;

/// Stands between a client and a server on 127.0.0.1, and fails as it is told.
///
/// It understands RESP2 and RESP3 in both directions (pushes and subscriptions included) and inline commands, so a
/// fault is meant for a request, not for a byte of a stream. Faults are set while it runs. When several requests are
/// under way on a connection, a cut concerns only the matched one and what comes after it: the replies to earlier
/// requests are delivered first, later requests are not forwarded. A cut shows itself to the client as the end of the
/// stream; other connections are not concerned.
///
/// Faults are tried in the order in which they were set. The first whose turn it is takes the request, and those
/// after it do not see that request.
///
/// Limits: no TLS. A request or reply is forwarded when it has arrived as a whole, and what waits for a slow or stalled
/// peer waits in memory, without a bound. After MONITOR or replication commands, which turn the connection into a
/// stream of something else, bytes pass but faults on replies do not strike reliably.
///
/// It runs as tasks of the runtime in which it was started, and ends with this value.
///
/// ```no_run
/// # async fn run() -> russet_testkit::Result<()> {
/// use russet_testkit::{Conn, Error, Match, Proxy, Server};
///
/// let server = Server::start().await?;
/// let proxy = Proxy::start(server.addr()).await?;
/// proxy.cut_after(Match::name("INCR").nth(2));
///
/// let mut conn = Conn::open(&proxy.url()).await?;
/// assert_eq!(conn.call(&["INCR", "n"]).await?.int(), Some(1));
/// assert!(matches!(conn.call(&["INCR", "n"]).await, Err(Error::Closed)));
///
/// // No reply, but applied all the same.
/// assert_eq!(server.conn().await?.call(&["GET", "n"]).await?.text(), Some("2"));
/// assert_eq!((proxy.requests("INCR"), proxy.strikes(), proxy.lost()), (2, 1, 1));
/// # Ok(())
/// # }
/// ```
pub struct Proxy {
    port: Arc<Port>,
    shared: Arc<Shared>,
    door: mpsc::UnboundedSender<Door>,
    task: AbortHandle,
}

/// An order to the accepting task; it answers when it is done.
enum Door {
    Open(oneshot::Sender<Result<()>>),
    Close(oneshot::Sender<Result<()>>),
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `upstream`, which need not be there yet.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(upstream: SocketAddr) -> Result<Proxy> {
        let mut tries = 0;
        let (port, listener) = loop {
            tries += 1;
            let port = Port::free()?;
            match listen(&port).await {
                Err(_) if tries < TRIES => {}
                listener => break (Arc::new(port), listener?),
            }
        };
        let shared = Shared::new();
        let (door, orders) = mpsc::unbounded_channel();
        let work = accept(Arc::clone(&port), listener, upstream, Arc::clone(&shared), orders);
        Ok(Proxy { port, shared, door, task: tokio::spawn(work).abort_handle() })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// `redis://127.0.0.1:port`. A password, if the server wants one, is for the caller to add.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// Closes the connection when the request arrives. Nothing of it is forwarded.
    pub fn cut_before(&self, requests: Match) -> Fault {
        self.shared.set(requests, Action::CutBefore)
    }

    /// Forwards the request, waits for the server's reply, swallows it and closes the connection: the request has
    /// certainly been applied.
    pub fn cut_after(&self, requests: Match) -> Fault {
        self.shared.set(requests, Action::CutAfter)
    }

    /// Forwards the request, and of the reply the first `bytes` bytes; then closes the connection. A shorter reply is
    /// delivered whole before the connection is closed.
    pub fn cut_in_reply(&self, requests: Match, bytes: usize) -> Fault {
        self.shared.set(requests, Action::CutInReply(bytes))
    }

    /// Changes the bytes of the reply as `change` says.
    pub fn corrupt(
        &self,
        requests: Match,
        change: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
    ) -> Fault {
        self.shared.set(requests, Action::Corrupt(Arc::new(change)))
    }

    /// Inverts the lowest bit of the reply's byte at `index`; of a shorter reply, of its last byte.
    pub fn flip_bit(&self, requests: Match, index: usize) -> Fault {
        self.corrupt(requests, move |reply| {
            let mut reply = reply.to_vec();
            let last = reply.len().saturating_sub(1);
            if let Some(byte) = reply.get_mut(index.min(last)) {
                *byte ^= 1;
            }
            reply
        })
    }

    /// Sends these bytes to the client just before the reply: a client that trusts the order takes them for its reply,
    /// and every later reply for the next one's.
    pub fn inject_before(&self, requests: Match, bytes: impl Into<Bytes>) -> Fault {
        self.shared.set(requests, Action::InjectBefore(bytes.into()))
    }

    /// Does not forward the request, and sends these bytes in the place of its reply: the client takes as done what the
    /// server has never heard of. They do not count as a reply.
    pub fn answer(&self, requests: Match, bytes: impl Into<Bytes>) -> Fault {
        self.shared.set(requests, Action::Answer(bytes.into()))
    }

    /// Sends these bytes to each client that is connected, now, between two frames. Returns how many these are; each
    /// counts as a strike.
    pub fn inject_reply(&self, bytes: impl Into<Bytes>) -> usize {
        self.shared.inject(&bytes.into())
    }

    /// From now on holds each request for so long before it forwards it. This is latency: order is kept, and any
    /// number can be under way.
    pub fn delay_requests(&self, delay: Duration) {
        self.shared.change(|now| now.delay_requests = delay);
    }

    /// The same for replies, pushes and the ends of connections. Trips are counted exactly if this is more than clients
    /// need to send a pipeline.
    pub fn delay_replies(&self, delay: Duration) {
        self.shared.change(|now| now.delay_replies = delay);
    }

    /// From now on forwards so many bytes a second in each direction of each connection; 0 for as many as come.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.shared.change(|now| now.throttle = NonZeroU64::new(bytes_per_second));
    }

    /// From now on accepts and reads but forwards nothing, in either direction, not even the end of a connection.
    pub fn stall(&self) {
        self.shared.change(|now| now.stalled = true);
    }

    /// Forwards what has gathered in a stall, in order, and goes on.
    pub fn unstall(&self) {
        self.shared.change(|now| now.stalled = false);
    }

    /// Stops listening: new connections are refused by the system. Those that exist go on.
    ///
    /// # Errors
    /// [`Error::Closed`] when the runtime has ended in which the proxy was started.
    pub async fn refuse(&self) -> Result<()> {
        self.order(Door::Close).await
    }

    /// Listens again, on the same port.
    ///
    /// # Errors
    /// As [`Proxy::refuse`]; [`Error::PortTaken`].
    pub async fn accept(&self) -> Result<()> {
        self.order(Door::Open).await
    }

    /// Closes all connections now, whatever is under way, and waits until they are closed. Returns how many these were.
    /// Not a strike.
    ///
    /// # Errors
    /// [`Error::Timeout`] after 10 s.
    pub async fn cut_all(&self) -> Result<usize> {
        self.shared.cut_all().await
    }

    /// Takes back all faults, delays, throttling and stalling. What has found its request already still strikes.
    pub fn heal(&self) {
        self.shared.clear();
        self.shared.change(|now| *now = line::Conditions::default());
    }

    /// All counters at one moment.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// See [`Counters::connections`].
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counters().connections
    }

    /// See [`Counters::requests`].
    #[must_use]
    pub fn requests(&self, name: &str) -> u64 {
        self.counters().requests(name)
    }

    /// See [`Counters::replies`].
    #[must_use]
    pub fn replies(&self) -> u64 {
        self.counters().replies
    }

    /// See [`Counters::lost`].
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.counters().lost
    }

    /// See [`Counters::strikes`].
    #[must_use]
    pub fn strikes(&self) -> u64 {
        self.counters().strikes
    }

    /// See [`Counters::trips`].
    #[must_use]
    pub fn trips(&self) -> u64 {
        self.counters().trips
    }

    /// Counts from zero again, all but the connections that are open.
    pub fn reset_counters(&self) {
        self.shared.reset();
    }

    /// Waits until a fault has struck since the start or the last [`reset_counters`](Proxy::reset_counters). It does not
    /// matter whether that was before this call.
    ///
    /// # Errors
    /// [`Error::Timeout`] after 10 s.
    pub async fn struck(&self) -> Result<()> {
        self.shared.until("strike of a fault", |now| now.strikes > 0).await
    }

    /// Waits until the counters are as `done` wants them, instead of sleeping.
    ///
    /// # Errors
    /// [`Error::Timeout`] after 10 s.
    pub async fn until(&self, done: impl Fn(&Counters) -> bool) -> Result<()> {
        self.shared.until("counters of the proxy", done).await
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<Result<()>>) -> Door) -> Result<()> {
        let (done, answer) = oneshot::channel();
        self.door.send(order(done)).map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("addr", &self.addr())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

/// Accepts clients; all their tasks end with this one.
async fn accept(
    port: Arc<Port>,
    listener: TcpListener,
    upstream: SocketAddr,
    shared: Arc<Shared>,
    mut orders: mpsc::UnboundedReceiver<Door>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                None => return,
                Some(Door::Close(done)) => {
                    listener = None;
                    let _ = done.send(Ok(()));
                }
                Some(Door::Open(done)) if listener.is_some() => {
                    let _ = done.send(Ok(()));
                }
                Some(Door::Open(done)) => {
                    let _ = done.send(listen(&port).await.map(|opened| listener = Some(opened)));
                }
            },
            client = next(listener.as_ref()) => {
                connections.spawn(connection::run(client, upstream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn next(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            // Out of file descriptors, most likely: better later than never.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn listen(port: &Port) -> Result<TcpListener> {
    TcpListener::bind(port.addr()).await.map_err(|_| Error::PortTaken { port: port.number() })
}
