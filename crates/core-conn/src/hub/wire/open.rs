//! Opening the connection, and being let in.

use std::time::Instant;

use super::Wire;
use super::frame::Frame;
use crate::target::{Io, Target};
use crate::value::server_error;
use crate::{Error, ErrorKind};

/// Opens a connection as the links do, and waits until the server has accepted protocol, user and name. A database is
/// not chosen: messages know none. Dropping the future closes what was opened.
pub(in crate::hub) async fn open(target: &Target, max: usize) -> Result<Wire<Box<dyn Io>>, Error> {
    let access = &target.access;
    let credentials = access.credentials(Instant::now() + access.connect_timeout).await?;
    let mut wire = Wire::over(target.connect().await?, max);
    let mut hello: Vec<&[u8]> = vec![b"HELLO", b"3"];
    if let Some(credentials) = &credentials {
        let user = credentials.user().unwrap_or("default");
        hello.extend([&b"AUTH"[..], user.as_bytes(), credentials.secret().as_bytes()]);
    }
    if let Some(name) = &access.name {
        hello.extend([&b"SETNAME"[..], name.as_bytes()]);
    }
    wire.order(&hello);
    loop {
        match wire.frame()? {
            Some(Frame::Reply) => return Ok(wire),
            Some(Frame::Error(words)) => {
                return Err(server_error(&String::from_utf8_lossy(words), false));
            }
            Some(_) => return Err(not_opened("HELLO was answered with something else".into())),
            None => wire.progress().await.map_err(|error| not_opened(error.to_string()))?,
        }
    }
}

fn not_opened(reason: String) -> Error {
    Error::not_sent(ErrorKind::Connect(reason))
}
