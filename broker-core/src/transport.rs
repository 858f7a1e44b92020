//! What a connection is read from and written to: a socket as it is, or TLS over one.

use bytes::BytesMut;
use std::{
    future::Future,
    io::{self, IoSlice},
};
use tokio::{
    io::{Interest, Ready},
    net::TcpStream,
};

/// A stream that tells when it can go on. Connections are generic over it, so that plain ones pay nothing for TLS.
pub(crate) trait Transport: Send {
    /// Ends when one of these is likely to succeed.
    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> + Send;

    /// Appends what there is, at most about the room that `input` has; 0 when the peer has closed its side.
    fn try_read(&mut self, input: &mut BytesMut) -> io::Result<usize>;

    /// Takes as many of these bytes as it can; [`Transport::flush`] may have to be called for them.
    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Writes what was taken before; whether anything was written.
    fn flush(&mut self) -> io::Result<bool>;

    /// Whether there is something to flush.
    fn is_writing(&self) -> bool;
}

impl Transport for TcpStream {
    fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> + Send {
        TcpStream::ready(self, interest)
    }

    fn try_read(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        self.try_read_buf(input)
    }

    fn try_write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<bool> {
        Ok(false)
    }

    fn is_writing(&self) -> bool {
        false
    }
}
