//! TLS over a socket, driven by the socket's readiness.

use crate::transport::Transport;
use bytes::BytesMut;
use rustls::{ServerConfig, ServerConnection};
use std::{
    io::{self, BufRead, IoSlice, Read, Write},
    sync::Arc,
};
use tokio::{
    io::{Interest, Ready},
    net::TcpStream,
};

/// Sealed bytes that may wait for the socket; no more is taken to be sealed before they went.
const SEALED_BYTES_MAX: usize = 256 * 1024;

/// One connection.
pub(crate) struct TlsStream {
    socket: TcpStream,
    tls: ServerConnection,
    /// A read stopped before there was nothing left, so the socket alone does not tell whether there is more.
    more: bool,
}

impl TlsStream {
    /// Has the client's first messages, and keys with them. The caller limits the time.
    pub(crate) async fn accept(socket: TcpStream, settings: Arc<ServerConfig>) -> io::Result<Self> {
        let mut tls = ServerConnection::new(settings).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(SEALED_BYTES_MAX));
        let mut stream = Self { socket, tls, more: false };
        while stream.tls.is_handshaking() {
            let interest = if stream.tls.wants_write() { Interest::WRITABLE } else { Interest::READABLE };
            stream.socket.ready(interest).await?;
            match stream.receive() {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    // The client is told what is wrong, if it still listens.
                    let _ = stream.flush();
                    return Err(error);
                }
            }
            stream.flush()?;
        }
        // What came behind the last message of the handshake is already here.
        stream.more = true;
        Ok(stream)
    }

    /// Reads sealed bytes and opens them; 0 when the peer has closed its side.
    fn receive(&mut self) -> io::Result<usize> {
        let read = self.tls.read_tls(&mut Socket(&self.socket))?;
        self.tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(read)
    }
}

impl Transport for TlsStream {
    async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        if self.more && interest.is_readable() {
            return Ok(Ready::READABLE);
        }
        self.socket.ready(interest).await
    }

    fn try_read(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        let room = input.capacity() - input.len();
        let mut count = 0;
        self.more = false;
        loop {
            let mut reader = self.tls.reader();
            match reader.fill_buf() {
                Ok(opened) if !opened.is_empty() => {
                    let taken = opened.len().min(room - count);
                    input.extend_from_slice(&opened[..taken]);
                    reader.consume(taken);
                    count += taken;
                    if count == room {
                        self.more = true;
                        return Ok(count);
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
                // The peer closed, in order or not. The next call tells so, if there was something before.
                Ok(_) | Err(_) => {
                    self.more = true;
                    return Ok(count);
                }
            }
            match self.receive() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && count > 0 => return Ok(count),
                Err(error) => return Err(error),
            }
        }
    }

    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let taken = self.tls.writer().write_vectored(slices)?;
        self.flush()?;
        if taken == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<bool> {
        let mut progress = false;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Socket(&self.socket)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => progress = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(progress)
    }

    fn is_writing(&self) -> bool {
        self.tls.wants_write()
    }
}

/// The socket as `std` sees one that does not block.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
