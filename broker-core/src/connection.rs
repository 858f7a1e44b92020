//! One client's connection: reads what there is, has every complete frame handled in place, and writes all
//! replies at once. Nothing is spawned per request; requests that must wait are entries, not tasks.

use crate::{acks::Acks, held::Held, outbox::Outbox, transport::Transport, writer::Outgoing};
use bytes::{Buf, BytesMut};
use halley_machine::ConnectionId;
use halley_wire::frame;
use std::{
    future::{pending, poll_fn},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::Interest,
    sync::watch,
    time::{Instant, sleep_until},
};

/// Room made for each read from the socket.
const READ_BYTES: usize = 64 * 1024;

/// No more is read in one turn, so that one busy client does not keep the others waiting.
const TURN_BYTES_MAX: usize = 256 * 1024;

/// While more bytes than this wait for a slow client, nothing further is read from it.
const UNWRITTEN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// While more sends than this wait for the log, nothing further is read from the client.
const HELD_MAX: usize = 65_536;

/// A connection without a byte from the client for this long is closed
/// (`serverChannelMaxIdleTimeSeconds`, 5.5); clients send a heartbeat every 30 s.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(120);

/// A started frame must be complete after this long, and a client must take its replies within it.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(30);

/// When the server stops, a connection has this long for replies that wait for the log.
const DRAIN_MAX: Duration = Duration::from_secs(1);

/// What handles the frames of a listener's connections.
pub(crate) trait Service: Send + Sync + 'static {
    /// What a connection remembers between its requests.
    type State: Send;

    /// A connection begins.
    fn opened(&self, session: &SessionInfo) -> Self::State;

    /// Handles the complete frames at the start of `input`; returns the bytes they have.
    fn frames(&self, input: &[u8], session: &mut Session<Self::State>) -> Result<usize, frame::FrameError>;

    /// Looks again at a parked request.
    fn woken(&self, token: u64, session: &mut Session<Self::State>);

    /// Answers requests whose time is over.
    fn expire(&self, now: Instant, session: &mut Session<Self::State>);

    /// When [`Service::expire`] has something to do.
    fn deadline(&self, session: &Session<Self::State>) -> Option<Instant>;

    /// The store stopped: answers everything held with an error.
    fn stopped(&self, session: &mut Session<Self::State>);

    /// The connection is gone.
    fn closed(&self, session: &mut Session<Self::State>);
}

/// Who is connected.
#[derive(Debug, Clone)]
pub(crate) struct SessionInfo {
    /// The connection's id.
    pub(crate) id: ConnectionId,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// Where others leave frames for it.
    pub(crate) outbox: Arc<Outbox>,
}

/// What a handler sees of a connection.
#[derive(Debug)]
pub(crate) struct Session<S> {
    /// Who it is.
    pub(crate) info: SessionInfo,
    /// Replies on their way.
    pub(crate) out: Outgoing,
    /// Replies that wait for the log.
    pub(crate) held: Held,
    /// The service's own memory.
    pub(crate) state: S,
}

/// Serves one connection until the client leaves, breaks the protocol, stalls, or `shutdown` turns true.
/// Returns why it ended, `Ok` for an ordinary end.
pub(crate) async fn serve<S: Service>(
    stream: impl Transport,
    info: SessionInfo,
    service: &S,
    acks: &Acks,
    shutdown: watch::Receiver<bool>,
) -> Result<(), CloseReason> {
    let state = service.opened(&info);
    let session = Session { info, out: Outgoing::default(), held: Held::default(), state };
    let mut connection = Connection {
        stream,
        input: BytesMut::new(),
        session,
        read_at: Instant::now(),
        wrote_at: Instant::now(),
    };
    let result = connection.run(service, acks, shutdown).await;
    service.closed(&mut connection.session);
    result
}

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CloseReason {
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The client does not speak Remoting.
    #[error("{0}")]
    Frame(#[from] frame::FrameError),
    /// Connections of this kind are not taken.
    #[error("refused: {0}")]
    Refused(&'static str),
    /// A bound on time was reached.
    #[error("{0}")]
    Stalled(&'static str),
}

struct Connection<T, M> {
    stream: T,
    input: BytesMut,
    session: Session<M>,
    read_at: Instant,
    wrote_at: Instant,
}

impl<T: Transport, M: Send> Connection<T, M> {
    async fn run<S: Service<State = M>>(
        &mut self,
        service: &S,
        acks: &Acks,
        mut shutdown: watch::Receiver<bool>,
    ) -> Result<(), CloseReason> {
        while !*shutdown.borrow() {
            let interest = self.interest();
            let deadline = self.deadline(service);
            let outbox = self.session.info.outbox.clone();
            tokio::select! {
                ready = ready(&self.stream, interest) => {
                    if ready?.is_readable() && !self.read(service)? {
                        return Ok(());
                    }
                }
                released = wait_acked(acks, &mut self.session.held) => self.release(service, acks, released),
                () = outbox.arrived() => self.empty_outbox(service),
                () = sleep_until(deadline) => {
                    // First, as replies to what expires now are no older than this.
                    self.check_stalled()?;
                    service.expire(Instant::now(), &mut self.session);
                }
                _ = shutdown.changed() => {}
            }
            self.write()?;
        }
        self.drain(service, acks).await
    }

    /// Readable while the client may send more, writable while something waits to be written.
    fn interest(&self) -> Option<Interest> {
        let may_read = self.session.out.len() < UNWRITTEN_BYTES_MAX && self.session.held.len() < HELD_MAX;
        match (may_read, self.is_writing()) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        }
    }

    /// Whether something waits until the socket takes it.
    fn is_writing(&self) -> bool {
        !self.session.out.is_empty() || self.stream.is_writing()
    }

    /// Reads what there is and handles all complete frames; `false` when the client closed its side.
    fn read<S: Service<State = M>>(&mut self, service: &S) -> Result<bool, CloseReason> {
        let mut turn = 0;
        let mut open = true;
        while turn < TURN_BYTES_MAX {
            self.input.reserve(READ_BYTES);
            match self.stream.try_read(&mut self.input) {
                Ok(0) => {
                    open = false;
                    break;
                }
                Ok(read) => {
                    turn += read;
                    if read < READ_BYTES {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        if turn > 0 {
            self.read_at = Instant::now();
            let used = service.frames(&self.input, &mut self.session)?;
            self.input.advance(used);
        }
        Ok(open)
    }

    fn release<S: Service<State = M>>(
        &mut self,
        service: &S,
        acks: &Acks,
        released: Result<(), crate::acks::Stopped>,
    ) {
        self.session.held.release(acks.acked(), &mut self.session.out);
        if released.is_err() {
            service.stopped(&mut self.session);
        }
    }

    fn empty_outbox<S: Service<State = M>>(&mut self, service: &S) {
        let letters = self.session.info.outbox.take();
        for frame in letters.frames {
            self.session.out.body(frame);
        }
        for token in letters.woken {
            service.woken(token, &mut self.session);
        }
    }

    fn write(&mut self) -> Result<(), CloseReason> {
        let flushed = self.stream.flush()?;
        if !self.is_writing() || self.session.out.write(&mut self.stream)? || flushed {
            self.wrote_at = Instant::now();
        }
        Ok(())
    }

    fn deadline<S: Service<State = M>>(&self, service: &S) -> Instant {
        let stall = self.stalls_at().0;
        service.deadline(&self.session).map_or(stall, |deadline| deadline.min(stall))
    }

    /// When the client will have kept us waiting too long, and for what.
    fn stalls_at(&self) -> (Instant, &'static str) {
        let read = if self.input.is_empty() {
            (self.read_at + IDLE_MAX, "no request or heartbeat for 120 s")
        } else {
            (self.read_at + STALL_MAX, "a started frame was not completed within 30 s")
        };
        let write = (self.wrote_at + STALL_MAX, "the client did not take its replies for 30 s");
        if !self.is_writing() || read.0 < write.0 { read } else { write }
    }

    fn check_stalled(&self) -> Result<(), CloseReason> {
        let (at, what) = self.stalls_at();
        if Instant::now() >= at { Err(CloseReason::Stalled(what)) } else { Ok(()) }
    }

    /// Reads nothing more, but answers what the log acknowledges in time.
    async fn drain<S: Service<State = M>>(&mut self, service: &S, acks: &Acks) -> Result<(), CloseReason> {
        let end = Instant::now() + DRAIN_MAX;
        while self.is_writing() || self.session.held.front().is_some() {
            let interest = self.is_writing().then_some(Interest::WRITABLE);
            tokio::select! {
                ready = ready(&self.stream, interest) => { ready?; }
                released = wait_acked(acks, &mut self.session.held) => self.release(service, acks, released),
                () = sleep_until(end) => return Err(CloseReason::Stalled("replies were left when the server stopped")),
            }
            self.write()?;
        }
        Ok(())
    }
}

async fn ready<T: Transport>(stream: &T, interest: Option<Interest>) -> io::Result<tokio::io::Ready> {
    match interest {
        Some(interest) => stream.ready(interest).await,
        None => pending().await,
    }
}

/// Ends when the first held reply may go, never while none is held.
async fn wait_acked(acks: &Acks, held: &mut Held) -> Result<(), crate::acks::Stopped> {
    let Some(end) = held.front() else { return pending().await };
    poll_fn(|context| acks.poll(end, &mut held.registered, context)).await
}
