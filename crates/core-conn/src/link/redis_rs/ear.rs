//! A stream that makes up for what redis-rs does not do.
//!
//! It keeps to itself why a connection ends, and drops what comes before anything was asked: a server that has too many
//! clients says so at once and closes. So nothing is read here before something was written, and the first words on a
//! connection have the refusal for a reply.
//!
//! It also writes as soon as it has one command, because the runtime runs a task that was woken next: with each write goes
//! a system call, and one command. So each write lets all others that are ready have a turn first, and has their commands
//! with it, which saves most of the system calls.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The first reason for the end of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<OnceLock<String>>);

impl Heard {
    /// Why it ended. Where the stream was well, what came by it was not.
    pub(super) fn why(&self) -> String {
        self.0.get().map_or("a reply that can't be read", String::as_str).to_owned()
    }

    fn first(&self, why: impl Into<String>) {
        // The first reason is kept.
        let _ = self.0.set(why.into());
    }

    fn of<T>(&self, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &done {
            self.first(error.to_string());
        }
        done
    }
}

/// A stream that is listened to.
pub(super) struct Ear<S> {
    stream: S,
    heard: Heard,
    /// Whether anything was written.
    spoken: bool,
    /// Whether all others had a turn since the last write.
    yielded: bool,
    /// Who wants to read before that.
    reader: Option<Waker>,
}

impl<S> Ear<S> {
    pub(super) fn new(stream: S, heard: Heard) -> Self {
        Self { stream, heard, spoken: false, yielded: false, reader: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ear<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.spoken {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buf.remaining();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(()))) && before > 0 && buf.remaining() == before {
            self.heard.first("closed by the server");
        }
        self.heard.of(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ear<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.yielded {
            self.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_pending() {
            return Poll::Pending;
        }
        self.yielded = false;
        if !self.spoken {
            self.spoken = true;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        self.heard.of(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.heard.of(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_first_reason_is_told() {
        let (near, mut far) = tokio::io::duplex(16);
        let heard = Heard::default();
        let mut ear = Ear::new(near, heard.clone());
        far.write_all(b"+OK\r\n").await.unwrap();
        ear.write_all(b"ask").await.unwrap();
        ear.read_exact(&mut [0; 5]).await.unwrap();
        assert_eq!(heard.why(), "a reply that can't be read");
        drop(far);
        assert_eq!(ear.read(&mut [0; 5]).await.unwrap(), 0);
        ear.write_all(b"late").await.unwrap_err();
        assert_eq!(heard.why(), "closed by the server");
    }

    #[tokio::test]
    async fn what_comes_too_early_is_read_once_something_was_asked() {
        let (near, mut far) = tokio::io::duplex(16);
        let (mut from, mut to) = tokio::io::split(Ear::new(near, Heard::default()));
        far.write_all(b"early").await.unwrap();
        let mut early = [0; 5];
        let read = from.read_exact(&mut early);
        let ask = async {
            tokio::task::yield_now().await;
            to.write_all(b"ask").await
        };
        let (read, asked) = tokio::join!(read, ask);
        asked.unwrap();
        assert_eq!((read.unwrap(), &early), (5, b"early"));
    }
}
