use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout};

use super::line::{self, Clerk, End, Item, Kind};
use super::link::{Link, Out, Strikes, Way};
use super::request::Requests;
use super::shared::Shared;
use crate::frame::Scanner;

/// How long a client has to see the end of the stream, before what it still sends is answered by a reset.
const LINGER: Duration = Duration::from_millis(250);

/// One client and its connection to the server, until one of them or a fault ends it.
pub(super) async fn run(mut client: TcpStream, upstream: SocketAddr, shared: Arc<Shared>) {
    let mut cuts = shared.cuts();
    let (to_client, replies) = unbounded_channel();
    let id = shared.opened(to_client.clone());
    let wire = Wire { link: Mutex::default(), shared: Arc::clone(&shared), to_client };
    // Only latency is at stake.
    let _ = client.set_nodelay(true);
    let serve = async {
        let Ok(mut server) = TcpStream::connect(upstream).await else { return End::Gone };
        let _ = server.set_nodelay(true);
        let (from_client, for_client) = client.split();
        let (from_server, for_server) = server.split();
        let (to_server, requests) = unbounded_channel();
        // All in one task: what a test sees does not depend on how tasks are scheduled.
        let inward = async {
            tokio::join!(
                wire.read_requests(from_client, &to_server),
                line::write(requests, shared.conditions(), for_server, Requester(&wire)),
                wire.read_replies(from_server),
            );
            pending::<Infallible>().await
        };
        tokio::select! {
            end = line::write(replies, shared.conditions(), for_client, Replier(&wire)) => end,
            never = inward => match never {},
        }
    };
    let end = tokio::select! {
        end = serve => end,
        _ = cuts.changed() => End::Gone,
    };
    // Counted first: whoever sees the end can rely on the counters.
    {
        let link = wire.link();
        shared.ending(link.lost(), link.unsent());
    }
    if let End::Closed(Some(strikes)) = end {
        shared.struck(&strikes);
    }
    let _ = client.shutdown().await;
    shared.closed(id);
    let drain = async {
        while client.read_buf(&mut BytesMut::with_capacity(4096)).await.is_ok_and(|n| n > 0) {}
    };
    let _ = timeout(LINGER, drain).await;
}

struct Wire {
    link: Mutex<Link>,
    shared: Arc<Shared>,
    to_client: UnboundedSender<Item>,
}

impl Wire {
    /// Reads requests and puts them in line for the server, until the client or a cut ends that.
    async fn read_requests(
        &self,
        mut from: impl AsyncRead + Unpin,
        to_server: &UnboundedSender<Item>,
    ) {
        let conditions = self.shared.conditions();
        let put = |bytes: Bytes, kind: Kind| {
            let due = Instant::now() + conditions.borrow().delay_requests;
            // The receiver is in the same task.
            let _ = to_server.send(Item { due, bytes, kind });
        };
        let (mut requests, mut buffer) = (Requests::new(), BytesMut::new());
        loop {
            match requests.next(&mut buffer) {
                // Servers pass over an empty line.
                Ok(Some(request)) if request.args.is_empty() => put(request.bytes, Kind::Aside),
                Ok(Some(request)) => {
                    let (mut out, mut struck) = (Vec::new(), Vec::new());
                    let mut link = self.link();
                    let has_reply = link.has_reply(&request.args);
                    let new_trip = link.begins_trip();
                    let fate = self.shared.arrived(&request.args, has_reply, new_trip);
                    let way = match has_reply || fate.is_some() {
                        true => link.take(&request.args, fate),
                        false => Way::On,
                    };
                    match way {
                        Way::On | Way::Last if has_reply => put(request.bytes, Kind::Request),
                        Way::On | Way::Last => put(request.bytes, Kind::Aside),
                        Way::Aside | Way::Nowhere => link.settle(&mut out, &mut struck),
                    }
                    drop(link);
                    self.put_replies(out, &struck);
                    if matches!(way, Way::Last | Way::Nowhere) {
                        return;
                    }
                }
                Ok(None) => {
                    if !matches!(from.read_buf(&mut buffer).await, Ok(n) if n > 0) {
                        put(Bytes::new(), Kind::Fin);
                        return;
                    }
                }
                // The server is to say what it thinks of that.
                Err(_) => {
                    while !buffer.is_empty()
                        || matches!(from.read_buf(&mut buffer).await, Ok(n) if n > 0)
                    {
                        put(buffer.split().freeze(), Kind::Aside);
                    }
                    put(Bytes::new(), Kind::Fin);
                    return;
                }
            }
        }
    }

    /// Reads replies and puts them in line for the client, until the server or a cut ends that.
    async fn read_replies(&self, mut from: impl AsyncRead + Unpin) {
        let (mut scanner, mut buffer) = (Scanner::new(), BytesMut::new());
        loop {
            match scanner.scan(&buffer) {
                Ok(Some(len)) => {
                    let (mut out, mut struck) = (Vec::new(), Vec::new());
                    self.link().answer(buffer.split_to(len).freeze(), &mut out, &mut struck);
                    if self.put_replies(out, &struck) {
                        return;
                    }
                }
                Ok(None) => {
                    if !matches!(from.read_buf(&mut buffer).await, Ok(n) if n > 0) {
                        // What is there of a frame belongs to the client all the same.
                        self.put_reply(buffer.freeze(), Kind::Aside);
                        return self.put_reply(Bytes::new(), Kind::Close(None));
                    }
                }
                Err(_) => {
                    while !buffer.is_empty()
                        || matches!(from.read_buf(&mut buffer).await, Ok(n) if n > 0)
                    {
                        self.put_reply(buffer.split().freeze(), Kind::Aside);
                    }
                    return self.put_reply(Bytes::new(), Kind::Close(None));
                }
            }
        }
    }

    /// Counts the strikes and puts everything in line for the client; whether that is its end.
    fn put_replies(&self, out: Vec<Out>, struck: &[Strikes]) -> bool {
        struck.iter().for_each(|strikes| self.shared.struck(strikes));
        for (bytes, kind) in out {
            let over = matches!(kind, Kind::Close(_));
            self.put_reply(bytes, kind);
            if over {
                return true;
            }
        }
        false
    }

    fn put_reply(&self, bytes: Bytes, kind: Kind) {
        let due = Instant::now() + self.shared.conditions().borrow().delay_replies;
        // The receiver is in the same task.
        let _ = self.to_client.send(Item { due, bytes, kind });
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Requester<'a>(&'a Wire);

impl Clerk for Requester<'_> {
    fn writing(&mut self, kind: &Kind) {
        if matches!(kind, Kind::Request) {
            self.0.link().handing_to_server();
        }
    }

    fn written(&mut self) {}
}

struct Replier<'a>(&'a Wire);

impl Clerk for Replier<'_> {
    /// Before, not after: the next request may arrive while this task is still on its way back from writing.
    fn writing(&mut self, kind: &Kind) {
        if matches!(kind, Kind::Reply) {
            self.0.link().handing_to_client();
            self.0.shared.replied();
        }
    }

    fn written(&mut self) {
        self.0.link().handed_to_client();
    }
}
