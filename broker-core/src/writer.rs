//! The bytes that wait to be written to a connection, small replies joined, large bodies by reference.

use crate::transport::Transport;
use bytes::{Buf, Bytes, BytesMut};
use std::{collections::VecDeque, io, io::IoSlice};

/// Most slices handed to one vectored write.
const SLICES_MAX: usize = 64;

/// Bodies shorter than this are copied beside their head: a slice of its own costs more than the copy.
const COPY_BYTES_MAX: usize = 512;

/// Bytes on their way to a socket.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    queued: usize,
}

impl Outgoing {
    /// The buffer into which small replies are encoded; call nothing else of `self` before it is dropped.
    pub(crate) fn head(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Appends a body behind what was encoded so far, by reference if that pays.
    pub(crate) fn body(&mut self, body: Bytes) {
        if body.len() < COPY_BYTES_MAX {
            self.tail.extend_from_slice(&body);
            return;
        }
        self.seal();
        self.queued += body.len();
        self.chunks.push_back(body);
    }

    /// Appends the parts of whole frames.
    pub(crate) fn parts(&mut self, parts: impl IntoIterator<Item = Bytes>) {
        for part in parts {
            self.body(part);
        }
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.queued + self.tail.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes as much as the socket takes now; whether anything was written.
    pub(crate) fn write<T: Transport>(&mut self, stream: &mut T) -> io::Result<bool> {
        self.seal();
        let mut progress = false;
        while !self.chunks.is_empty() {
            let written = {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let mut count = 0;
                for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
                    *slice = IoSlice::new(chunk);
                    count += 1;
                }
                stream.try_write(&slices[..count])
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(progress),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            progress = true;
        }
        Ok(progress)
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.queued += self.tail.len();
            self.chunks.push_back(self.tail.split().freeze());
        }
    }

    fn advance(&mut self, mut written: usize) {
        self.queued -= written;
        while let Some(first) = self.chunks.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.chunks.pop_front();
        }
    }
}
