//! The connection of a hub: frames in, commands out. It knows no deadline, and never connects again.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use self::frame::{Decoder, Frame, Malformed};
use crate::{Error, ErrorKind};

pub(super) mod frame;
pub(super) mod open;

/// What is asked of the system at once.
const CHUNK: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Wire<S> {
    from: ReadHalf<S>,
    to: WriteHalf<S>,
    input: BytesMut,
    /// What of the input is the frame that was given last.
    taken: usize,
    output: BytesMut,
    unflushed: bool,
    decoder: Decoder,
}

impl<S: AsyncRead + AsyncWrite> Wire<S> {
    /// `max` is the most bytes of one message.
    pub(super) fn over(stream: S, max: usize) -> Self {
        let (from, to) = tokio::io::split(stream);
        Self {
            from,
            to,
            input: BytesMut::new(),
            taken: 0,
            output: BytesMut::new(),
            unflushed: false,
            decoder: Decoder::new(max),
        }
    }

    /// Puts a command in line.
    pub(super) fn order(&mut self, words: &[&[u8]]) {
        self.output.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.output.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            self.output.extend_from_slice(word);
            self.output.extend_from_slice(b"\r\n");
        }
        self.unflushed = true;
    }

    /// The next frame that has arrived.
    pub(super) fn frame(&mut self) -> Result<Option<Frame<'_>>, Error> {
        self.input.advance(std::mem::take(&mut self.taken));
        let (passed, over) = self.decoder.pass(&self.input).map_err(desync)?;
        self.input.advance(passed);
        if !over || self.input.is_empty() {
            return Ok(None);
        }
        let most = self.decoder.most();
        match self.decoder.decode(&self.input).map_err(desync)? {
            Some((frame, taken)) => {
                self.taken = taken;
                Ok(Some(frame))
            }
            None if self.input.len() > most => {
                Err(desync(Malformed("a frame without an end".into())))
            }
            None => Ok(None),
        }
    }

    /// Sends and receives until something has moved. May be dropped at any time.
    pub(super) async fn progress(&mut self) -> io::Result<()> {
        if self.input.is_empty() && self.input.capacity() > 16 * CHUNK {
            // What a long message needed is not kept for short ones.
            self.input = BytesMut::new();
        }
        self.input.reserve(CHUNK / 4);
        // In no order: a server that talks without end must not keep us from answering.
        tokio::select! {
            read = self.from.read_buf(&mut self.input) => match read? {
                0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the server")),
                _ => Ok(()),
            },
            sent = send(&mut self.to, &mut self.output), if self.unflushed => {
                self.unflushed = false;
                sent
            }
        }
    }
}

async fn send(to: &mut (impl AsyncWrite + Unpin), output: &mut BytesMut) -> io::Result<()> {
    while output.has_remaining() {
        to.write_buf(output).await?;
    }
    if output.capacity() > 16 * CHUNK {
        *output = BytesMut::new();
    }
    to.flush().await
}

fn desync(wrong: Malformed) -> Error {
    Error::unknown(ErrorKind::Desync(wrong.0))
}
