//! Replies to sends, encoded when their message was staged and held back until the log acknowledges it.
//!
//! Everything in such a reply is known at staging (queue offset, log offset, id), so that releasing a hundred
//! replies is moving one run of bytes. If the store stops instead, each becomes an error reply.

use crate::writer::Outgoing;
use bytes::{Bytes, BytesMut};
use halley_model::LogOffset;
use halley_wire::Serialize;
use std::collections::VecDeque;

/// Replies held back by one connection, in log order.
#[derive(Debug, Default)]
pub(crate) struct Held {
    bytes: BytesMut,
    marks: VecDeque<Mark>,
    /// See [`crate::acks::Acks::poll`].
    pub(crate) registered: Option<LogOffset>,
}

#[derive(Debug)]
struct Mark {
    end: LogOffset,
    len: usize,
    request: RequestId,
}

/// What a reply needs of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId {
    pub(crate) opaque: i32,
    pub(crate) serialize: Serialize,
}

impl Held {
    /// Holds the reply that `encode` appends until everything before `end` is acknowledged.
    pub(crate) fn push(&mut self, end: LogOffset, request: RequestId, encode: impl FnOnce(&mut BytesMut)) {
        let before = self.bytes.len();
        encode(&mut self.bytes);
        self.marks.push_back(Mark { end, len: self.bytes.len() - before, request });
    }

    /// The offset that the first held reply waits for.
    pub(crate) fn front(&self) -> Option<LogOffset> {
        self.marks.front().map(|mark| mark.end)
    }

    /// How many replies are held.
    pub(crate) fn len(&self) -> usize {
        self.marks.len()
    }

    /// Moves every acknowledged reply to the socket's bytes.
    pub(crate) fn release(&mut self, acked: LogOffset, out: &mut Outgoing) {
        let mut bytes = 0;
        while let Some(mark) = self.marks.front()
            && mark.end <= acked
        {
            bytes += mark.len;
            self.marks.pop_front();
        }
        if bytes > 0 {
            out.body(self.bytes.split_to(bytes).freeze());
        }
    }

    /// The store stopped: gives up every held reply, and names the requests that must hear of an error.
    pub(crate) fn fail(&mut self) -> Vec<RequestId> {
        self.bytes.clear();
        self.marks.drain(..).map(|mark| mark.request).collect()
    }
}

/// Appends a complete small frame to bytes that will be sent on their own.
pub(crate) fn frame(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut bytes = BytesMut::with_capacity(256);
    encode(&mut bytes);
    bytes.freeze()
}
