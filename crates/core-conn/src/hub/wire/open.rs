//! Opening the connection, and being let in.

use std::io;

use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Wire;
use super::frame::Frame;
use crate::link::Target;
use crate::value::server_error;
use crate::{Error, ErrorKind};

/// The bytes to and from the server.
async fn stream(target: &Target) -> io::Result<impl AsyncRead + AsyncWrite + Send + 'static> {
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens a connection, and waits until the server has accepted protocol, user and name. A database is not chosen:
/// messages know none. Dropping the future closes what was opened.
pub(in crate::hub) async fn open(
    target: &Target,
    max: usize,
) -> Result<Wire<impl AsyncRead + AsyncWrite + Send + 'static>, Error> {
    let mut wire = Wire::over(stream(target).await.map_err(connect_error)?, max);
    let password = target.password.as_ref().map(ExposeSecret::expose_secret);
    let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
    if let Some(password) = password {
        let user = target.user.as_deref().unwrap_or("default");
        hello.extend([&b"AUTH"[..], user.as_bytes(), password.as_bytes()]);
    }
    if let Some(name) = &target.name {
        hello.extend([&b"SETNAME"[..], name.as_bytes()]);
    }
    wire.order(&hello);
    loop {
        match wire.frame()? {
            Some(Frame::Reply) => return Ok(wire),
            Some(Frame::Error(words)) => {
                return Err(server_error(&String::from_utf8_lossy(words), false));
            }
            Some(_) => return Err(connect_error("HELLO was answered with something else")),
            None => wire.progress().await.map_err(connect_error)?,
        }
    }
}

fn connect_error(reason: impl ToString) -> Error {
    Error::not_sent(ErrorKind::Connect(reason.to_string()))
}
