//! What waits for its turn to be written, in one direction of one connection.

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// A throttled stream is written in so many pieces a second.
const PIECES: u64 = 100;

/// The faults that concern all bytes, not one request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Conditions {
    pub(super) stalled: bool,
    pub(super) delay_requests: Duration,
    pub(super) delay_replies: Duration,
    /// Bytes per second, in each direction of each connection.
    pub(super) throttle: Option<NonZeroU64>,
}

#[derive(Debug)]
pub(super) struct Item {
    /// Not before this.
    pub(super) due: Instant,
    pub(super) bytes: Bytes,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A request that will have a reply.
    Request,
    /// The last bytes of a reply.
    Reply,
    /// Anything else.
    Aside,
    /// The other side will send nothing more.
    Fin,
    /// The connection ends here; if by a fault, this counts its strikes.
    Close(Option<Arc<AtomicU64>>),
}

impl Item {
    pub(super) fn aside(bytes: Bytes) -> Item {
        Item { due: Instant::now(), bytes, kind: Kind::Aside }
    }
}

/// How writing came to its end.
#[derive(Debug)]
pub(super) enum End {
    /// At a [`Kind::Close`].
    Closed(Option<Arc<AtomicU64>>),
    /// The peer takes no more.
    Gone,
}

/// Is told what is written.
pub(super) trait Clerk {
    /// Just before the item is written.
    fn writing(&mut self, kind: &Kind);
    /// When all that was announced has been written.
    fn written(&mut self);
}

/// Writes items in order, each when it is due, until one of them says that it is over.
pub(super) async fn write(
    mut items: UnboundedReceiver<Item>,
    mut conditions: watch::Receiver<Conditions>,
    mut out: impl AsyncWrite + Unpin,
    mut clerk: impl Clerk,
) -> End {
    let mut waiting = Vec::new();
    let mut batch = BytesMut::new();
    loop {
        if items.recv_many(&mut waiting, 128).await == 0 {
            return End::Gone;
        }
        for item in waiting.drain(..) {
            if item.due > Instant::now() {
                if flush(&mut out, &mut batch, &conditions, &mut clerk).await.is_err() {
                    return End::Gone;
                }
                sleep_until(item.due).await;
            }
            if conditions.borrow().stalled {
                if flush(&mut out, &mut batch, &conditions, &mut clerk).await.is_err() {
                    return End::Gone;
                }
                // The sender lives as long as the proxy.
                let _ = conditions.wait_for(|now| !now.stalled).await;
            }
            clerk.writing(&item.kind);
            batch.extend_from_slice(&item.bytes);
            match item.kind {
                Kind::Request | Kind::Reply | Kind::Aside => {}
                Kind::Fin => {
                    let flushed = flush(&mut out, &mut batch, &conditions, &mut clerk).await;
                    if flushed.is_err() || out.shutdown().await.is_err() {
                        return End::Gone;
                    }
                }
                Kind::Close(strikes) => {
                    return match flush(&mut out, &mut batch, &conditions, &mut clerk).await {
                        Ok(()) => End::Closed(strikes),
                        Err(_) => End::Gone,
                    };
                }
            }
        }
        if flush(&mut out, &mut batch, &conditions, &mut clerk).await.is_err() {
            return End::Gone;
        }
    }
}

async fn flush(
    out: &mut (impl AsyncWrite + Unpin),
    batch: &mut BytesMut,
    conditions: &watch::Receiver<Conditions>,
    clerk: &mut impl Clerk,
) -> io::Result<()> {
    while !batch.is_empty() {
        let throttle = conditions.borrow().throttle;
        let piece = match throttle {
            None => batch.split(),
            Some(rate) => {
                let size = usize::try_from((rate.get() / PIECES).max(1)).unwrap_or(usize::MAX);
                let piece = batch.split_to(size.min(batch.len()));
                sleep(Duration::from_secs_f64(piece.len() as f64 / rate.get() as f64)).await;
                piece
            }
        };
        out.write_all(&piece).await?;
    }
    clerk.written();
    Ok(())
}
