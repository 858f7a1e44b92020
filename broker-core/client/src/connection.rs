//! One TCP connection: a task that reads and a task that writes, shared by all who ask.

use crate::{Error, Handler, IN_FLIGHT_MAX, Options, UNWRITTEN_MAX, pending::Pending};
use bytes::{Buf, Bytes, BytesMut};
use halley_wire::{
    Frame, ResponseCode,
    encode::{self, ExtField, Request},
    frame::{self, FrameError},
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};

/// Room made for one read, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// A connection. Clones share it; it is closed when the last one is dropped, after what was sent is written.
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    peer: Arc<str>,
    next: AtomicI32,
    in_flight: Semaphore,
    pending: Arc<Pending>,
    frames: mpsc::Sender<Bytes>,
    /// True once the connection is lost.
    lost: watch::Receiver<bool>,
}

/// A reply, kept as the bytes that it came in.
#[derive(Debug, Clone)]
pub struct Reply {
    bytes: Bytes,
}

impl Reply {
    /// The reply.
    pub fn frame(&self) -> Frame<'_> {
        frame::decode(&self.bytes, &frame::Limits::default())
            .ok()
            .flatten()
            .expect("the bytes of a reply were read as a frame before")
            .0
    }

    /// How it went.
    pub fn code(&self) -> ResponseCode {
        ResponseCode::of(self.frame().code)
    }

    /// The body, without copying it.
    pub fn body(&self) -> Bytes {
        let body = self.frame().body;
        self.bytes.slice_ref(body)
    }
}

impl Connection {
    /// Connects to `peer`, a `host:port`.
    pub async fn open(peer: &str, options: &Options) -> Result<Self, Error> {
        let name: Arc<str> = peer.into();
        let unreachable = |reason: String| Error::Unreachable { peer: name.clone(), reason: reason.into() };
        let stream = match timeout(options.connect, TcpStream::connect(peer)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_) => return Err(unreachable(format!("no connection within {:?}", options.connect))),
        };
        stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
        Ok(Self::over(stream, name.clone(), options.handler.clone()))
    }

    fn over(stream: TcpStream, peer: Arc<str>, handler: Handler) -> Self {
        let (reading, writing) = stream.into_split();
        let (frames, unwritten) = mpsc::channel(UNWRITTEN_MAX);
        let (tell_lost, lost) = watch::channel(false);
        let pending = Arc::new(Pending::new());
        let reader = Reader {
            peer: peer.clone(),
            stream: reading,
            pending: pending.clone(),
            handler,
            // Weak, so that the writer ends when nobody asks any more.
            replies: frames.downgrade(),
        };
        let writer = tokio::spawn(write(writing, unwritten));
        tokio::spawn(async move {
            let pending = reader.pending.clone();
            let peer = reader.peer.clone();
            tokio::select! {
                ended = reader.run() => {
                    if let Err(reason) = ended {
                        tracing::debug!(%peer, %reason, "a connection was lost");
                    }
                }
                ended = writer => {
                    if let Ok(Err(reason)) = ended {
                        tracing::debug!(%peer, %reason, "a connection was lost");
                    }
                }
            }
            pending.close();
            tell_lost.send_replace(true);
        });
        let in_flight = Semaphore::new(IN_FLIGHT_MAX);
        Self { shared: Arc::new(Shared { peer, next: AtomicI32::new(1), in_flight, pending, frames, lost }) }
    }

    /// Asks, and waits at most `limit` for the reply, whatever its code.
    pub async fn request(
        &self,
        code: impl Into<i32>,
        fields: &[ExtField<'_>],
        body: &[u8],
        limit: Duration,
    ) -> Result<Reply, Error> {
        let opaque = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let mut bytes = BytesMut::with_capacity(256 + body.len());
        encode::request(&mut bytes, outgoing(code.into(), opaque), fields, body)?;
        let asked = self.ask(opaque, bytes.freeze());
        let peer = self.shared.peer.clone();
        timeout(limit, asked).await.map_err(|_| Error::TimedOut { peer, limit })?
    }

    /// Sends what wants no reply; returns when it is on its way to the socket.
    pub async fn oneway(
        &self,
        code: impl Into<i32>,
        fields: &[ExtField<'_>],
        body: &[u8],
    ) -> Result<(), Error> {
        let mut bytes = BytesMut::with_capacity(256 + body.len());
        let opaque = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let request = Request { oneway: true, ..outgoing(code.into(), opaque) };
        encode::request(&mut bytes, request, fields, body)?;
        self.send(bytes.freeze()).await
    }

    /// Sends whole frames that were encoded elsewhere.
    pub async fn send(&self, frames: Bytes) -> Result<(), Error> {
        self.shared.frames.send(frames).await.map_err(|_| self.lost())
    }

    /// Whether the connection still stands, as far as is known.
    pub fn is_open(&self) -> bool {
        !*self.shared.lost.borrow()
    }

    /// Ends when the connection is lost.
    pub async fn closed(&self) {
        let mut lost = self.shared.lost.clone();
        // An error means that the task is gone, and the connection with it.
        let _ = lost.wait_for(|lost| *lost).await;
    }

    async fn ask(&self, opaque: i32, frame: Bytes) -> Result<Reply, Error> {
        // The semaphore is never closed.
        let _permit = self.shared.in_flight.acquire().await.map_err(|_| self.lost())?;
        let reply = self.shared.pending.wait(opaque).ok_or_else(|| self.lost())?;
        // Whoever gives up waiting leaves no entry behind.
        let _entry = Entry { pending: &self.shared.pending, opaque };
        self.send(frame).await?;
        reply.await.map_err(|_| self.lost())
    }

    fn lost(&self) -> Error {
        Error::Lost(self.shared.peer.clone())
    }
}

/// Codes above 16 bits go into JSON headers only; others read both.
fn outgoing(code: i32, opaque: i32) -> Request {
    Request { serialize: halley_wire::Serialize::Json, ..Request::new(code, opaque) }
}

struct Entry<'a> {
    pending: &'a Pending,
    opaque: i32,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.pending.forget(self.opaque);
    }
}

/// Writes frames, as many at once as there are; ends when nobody can send any more.
async fn write(mut stream: OwnedWriteHalf, mut frames: mpsc::Receiver<Bytes>) -> io::Result<()> {
    let mut taken = Vec::new();
    while frames.recv_many(&mut taken, UNWRITTEN_MAX).await > 0 {
        let mut bytes = BytesMut::new();
        for frame in taken.drain(..) {
            if frame.len() >= READ_BYTES {
                stream.write_all(&bytes.split()).await?;
                stream.write_all(&frame).await?;
            } else {
                bytes.extend_from_slice(&frame);
            }
        }
        stream.write_all(&bytes).await?;
    }
    stream.shutdown().await
}

struct Reader {
    peer: Arc<str>,
    stream: OwnedReadHalf,
    pending: Arc<Pending>,
    handler: Handler,
    replies: mpsc::WeakSender<Bytes>,
}

/// Why a connection could not be read any further.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
}

impl Reader {
    /// Reads until the peer closes its side.
    async fn run(mut self) -> Result<(), ReadError> {
        let limits = frame::Limits::default();
        let mut input = BytesMut::new();
        loop {
            input.reserve(frame::length(&input, &limits)?.unwrap_or(READ_BYTES).max(READ_BYTES));
            if self.stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            while let Some((frame, length)) = frame::decode(&input, &limits)? {
                if frame.is_reply() {
                    let opaque = frame.opaque;
                    let bytes = input.split_to(length).freeze();
                    self.pending.complete(opaque, Reply { bytes });
                } else {
                    let mut out = BytesMut::new();
                    (self.handler)(&frame, &mut out);
                    input.advance(length);
                    self.reply(out).await;
                }
            }
        }
    }

    async fn reply(&self, out: BytesMut) {
        if !out.is_empty()
            && let Some(replies) = self.replies.upgrade()
        {
            // Where nobody writes any more, the reply has no way out.
            let _ = replies.send(out.freeze()).await;
        }
    }
}
