use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs, UnixStream};

use crate::frame::Scanner;
use crate::url::Address;
use crate::{Error, Reply, Result};

/// How long connecting may take, and each call by default.
const DEADLINE: Duration = Duration::from_secs(5);

/// One plain connection: a request, then its reply.
///
/// It shares no code with any client library, so a test can look at what is really in the server without trusting
/// what it tests. It does not reconnect, retry or encrypt. Each call ends within a deadline (5 s by default), after
/// which the connection should be dropped: the late reply would be taken for the next one's.
///
/// ```no_run
/// # async fn run() -> russet_testkit::Result<()> {
/// let server = russet_testkit::Server::start().await?;
/// let mut conn = server.conn().await?;
/// assert!(conn.call(&["SET", "k", "v"]).await?.is_ok());
/// assert_eq!(conn.call(&["GET", "k"]).await?.text(), Some("v"));
/// # Ok(())
/// # }
/// ```
pub struct Conn {
    io: Box<dyn Io>,
    buffer: BytesMut,
    scanner: Scanner,
    pushes: VecDeque<Reply>,
    deadline: Duration,
}

trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Io for T {}

impl Conn {
    /// Connects to `redis://[[user]:password@]host:port[/database]` or `unix:///path`, and sends AUTH and SELECT as
    /// the URL says.
    ///
    /// # Errors
    /// [`Error::Config`] for another URL, [`Error::Io`] when nobody listens, [`Error::Timeout`] when nobody answers
    /// for 5 s, [`Error::Refused`] when the server does not let us in.
    pub async fn open(url: &str) -> Result<Conn> {
        let address = Address::parse(url)?;
        let mut conn = match &address {
            Address::Tcp { host, port, .. } => Conn::connect((host.as_str(), *port)).await?,
            Address::Unix { path } => Conn::unix(path).await?,
        };
        if let Address::Tcp { user, password, database, .. } = address {
            conn.auth(user.as_deref(), password.as_deref()).await?;
            if database != 0 {
                conn.demand(&["SELECT", &database.to_string()]).await?;
            }
        }
        Ok(conn)
    }

    /// Connects to a TCP address and sends nothing.
    ///
    /// # Errors
    /// [`Error::Io`] when nobody listens, [`Error::Timeout`] when nobody answers for 5 s.
    pub async fn tcp(addr: SocketAddr) -> Result<Conn> {
        Conn::connect(addr).await
    }

    /// Connects to a unix socket and sends nothing.
    ///
    /// # Errors
    /// [`Error::Io`] when nobody listens.
    pub async fn unix(path: impl AsRef<Path>) -> Result<Conn> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path).await;
        Ok(Conn::over(stream.map_err(Error::io(format!("connect to {}", path.display())))?))
    }

    async fn connect(addr: impl ToSocketAddrs + fmt::Debug) -> Result<Conn> {
        let what = format!("connect to {addr:?}");
        let connected = async { TcpStream::connect(addr).await.map_err(Error::io(what)) };
        Ok(Conn::over(tcp(bounded(DEADLINE, "a connection", connected).await?)))
    }

    fn over(io: impl Io + 'static) -> Conn {
        Conn {
            io: Box::new(io),
            buffer: BytesMut::new(),
            scanner: Scanner::new(),
            pushes: VecDeque::new(),
            deadline: DEADLINE,
        }
    }

    /// How long each later call may take.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Conn {
        self.deadline = deadline;
        self
    }

    /// Sends one command and gives its reply; an error reply is a [`Reply::Error`].
    ///
    /// Pushes that come first are kept for [`Conn::push`]. Arguments that are not text: `&[b"SET".as_slice(), key]`.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Io`], [`Error::Protocol`], or [`Error::Timeout`] after the deadline.
    pub async fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<Reply> {
        self.raw(&encode(args)).await
    }

    /// Sends many commands at once, then reads one reply for each, in order.
    ///
    /// # Errors
    /// As [`Conn::call`]; the deadline holds for all together.
    pub async fn pipeline<C: AsRef<[A]>, A: AsRef<[u8]>>(
        &mut self,
        commands: &[C],
    ) -> Result<Vec<Reply>> {
        let bytes: Vec<u8> = commands.iter().flat_map(|command| encode(command.as_ref())).collect();
        bounded(self.deadline, "replies", async {
            self.write(&bytes).await?;
            let mut replies = Vec::with_capacity(commands.len());
            while replies.len() < commands.len() {
                replies.push(self.read_answer().await?);
            }
            Ok(replies)
        })
        .await
    }

    /// Sends bytes as they are and gives the next reply that is no push.
    ///
    /// # Errors
    /// As [`Conn::call`].
    pub async fn raw(&mut self, bytes: &[u8]) -> Result<Reply> {
        bounded(self.deadline, "reply", async {
            self.write(bytes).await?;
            self.read_answer().await
        })
        .await
    }

    /// Sends bytes as they are and waits for nothing.
    ///
    /// # Errors
    /// As [`Conn::call`].
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        bounded(self.deadline, "sending", self.write(bytes)).await
    }

    /// The next reply that is no push, without sending anything.
    ///
    /// # Errors
    /// As [`Conn::call`].
    pub async fn reply(&mut self) -> Result<Reply> {
        bounded(self.deadline, "reply", self.read_answer()).await
    }

    /// The next push (RESP3): one that was met before, or else the next frame, which must be one.
    ///
    /// # Errors
    /// As [`Conn::call`]; [`Error::Protocol`] if a reply comes instead.
    pub async fn push(&mut self) -> Result<Reply> {
        if let Some(push) = self.pushes.pop_front() {
            return Ok(push);
        }
        match bounded(self.deadline, "push", self.read_frame()).await? {
            push @ Reply::Push(_) => Ok(push),
            reply => Err(Error::Protocol(format!("a reply instead of a push: {reply:?}"))),
        }
    }

    /// All bytes that still come until the peer closes the connection.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it does not close before the deadline.
    pub async fn rest(&mut self) -> Result<Vec<u8>> {
        bounded(self.deadline, "closing by the peer", async {
            while self.fill().await? {}
            Ok(self.buffer.split().to_vec())
        })
        .await
    }

    pub(crate) async fn auth(&mut self, user: Option<&str>, password: Option<&str>) -> Result<()> {
        match (user, password) {
            (None, None) => Ok(()),
            (None, Some(password)) => self.demand(&["AUTH", password]).await.map(drop),
            (Some(user), password) => {
                self.demand(&["AUTH", user, password.unwrap_or_default()]).await.map(drop)
            }
        }
    }

    /// A reply that is no error.
    pub(crate) async fn demand<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<Reply> {
        accepted(self.call(args).await?)
    }

    /// Replies that are no errors.
    pub(crate) async fn demand_all<C: AsRef<[A]>, A: AsRef<[u8]>>(
        &mut self,
        commands: &[C],
    ) -> Result<Vec<Reply>> {
        self.pipeline(commands).await?.into_iter().map(accepted).collect()
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.io.write_all(bytes).await.map_err(lost)
    }

    async fn read_answer(&mut self) -> Result<Reply> {
        loop {
            match self.read_frame().await? {
                push @ Reply::Push(_) => self.pushes.push_back(push),
                reply => return Ok(reply),
            }
        }
    }

    async fn read_frame(&mut self) -> Result<Reply> {
        loop {
            if let Some(len) = self.scanner.scan(&self.buffer)? {
                return Reply::parse(&self.buffer.split_to(len));
            }
            if !self.fill().await? {
                return Err(Error::Closed);
            }
        }
    }

    /// Reads what is there; false at the end.
    async fn fill(&mut self) -> Result<bool> {
        Ok(self.io.read_buf(&mut self.buffer).await.map_err(lost)? > 0)
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("unread", &self.buffer.len())
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// A command as an array of bulk strings, as every server understands it.
#[must_use]
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args.iter().map(AsRef::as_ref) {
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

async fn bounded<T>(
    deadline: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(deadline, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::Timeout { what, after: deadline }),
    }
}

fn accepted(reply: Reply) -> Result<Reply> {
    match reply {
        Reply::Error(message) => Err(Error::Refused(message)),
        reply => Ok(reply),
    }
}

fn tcp(stream: TcpStream) -> TcpStream {
    // Only latency is at stake.
    let _ = stream.set_nodelay(true);
    stream
}

fn lost(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => Error::Closed,
        _ => Error::io("use the connection")(error),
    }
}
