//! One Remoting frame, requests and replies alike (`RemotingCommand`, RocketMQ 5.5). All integers are big-endian.
//!
//! ```text
//! 0 length of all that follows  4
//! 4 serialisation               1     0 JSON, 1 binary
//! 5 length of the header        3
//! 8 header, then the body to the end
//!
//! binary header:  0 code 2 · language 1 · version 2 · opaque 4 · flag 4 · remark length 4, remark
//!                 · ext length 4, { name length 2, name, value length 4, value }*
//! JSON header:    {"code":int,"extFields":{"name":"value"},"flag":int,"language":"JAVA","opaque":int,
//!                  "remark":"…","serializeTypeCurrentRPC":"JSON","version":int}
//! ```
//! Limits: the whole frame has at most [`Limits::frame_bytes_max`] bytes, the header no more than the frame,
//! and at most [`crate::ext::FIELDS_MAX`] ext fields. A code in a binary header is a signed 16-bit number, so that codes from
//! 200050 on (POP) arrive intact only in JSON.

mod binary;
mod json;

use crate::Ext;
use std::borrow::Cow;

/// The largest frame RocketMQ reads by default, in bytes with its length field
/// (`com.rocketmq.remoting.frameMaxLength`, 5.5).
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes before the header.
const PREFIX_BYTES: usize = 8;

/// How a header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serialize {
    /// 0, the default of every client.
    Json,
    /// 1, `ROCKETMQ`: with `-Drocketmq.serialize.type=ROCKETMQ` in Java clients.
    Binary,
}

/// What a peer may ask of us.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest frame, in bytes with its length field.
    pub frame_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frame_bytes_max: FRAME_BYTES_MAX }
    }
}

/// A request or a reply, borrowed from the bytes it came in.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    /// A request code, or in a reply a response code.
    pub code: i32,
    /// The sender's language, see [`crate::language`].
    pub language: u8,
    /// The sender's version, an ordinal of `MQVersion.Version`.
    pub version: i32,
    /// The sender's number for the request; the reply repeats it.
    pub opaque: i32,
    /// Bit 0: a reply; bit 1: no reply is wanted.
    pub flag: i32,
    /// In a reply, what went wrong.
    pub remark: Option<Cow<'a, str>>,
    /// The named values of the header.
    pub ext: Ext<'a>,
    /// What follows the header.
    pub body: &'a [u8],
    /// How the header was written; the reply is to be written the same way.
    pub serialize: Serialize,
}

/// Bytes that are no frame. The stream cannot be read any further, so that the connection must be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field leaves no room for the header's length.
    #[error("the frame's length field is {0}, at least 4 is needed")]
    TooShort(i32),
    /// The frame is larger than we read.
    #[error("the frame has {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// its size with the length field
        bytes: usize,
        /// the limit
        max: usize,
    },
    /// The header would end after the frame.
    #[error("the frame's header has {header} bytes, but only {room} bytes follow in the frame")]
    HeaderTooLong {
        /// the header's length
        header: usize,
        /// the bytes after the header's length
        room: usize,
    },
    /// Neither JSON nor binary.
    #[error("the header's serialisation is {0}, known are 0 (JSON) and 1 (ROCKETMQ)")]
    UnknownSerialize(u8),
    /// The header breaks off or is malformed.
    #[error("the {form} header is malformed at byte {at}: expected {expected}")]
    Header {
        /// "JSON" or "binary"
        form: &'static str,
        /// bytes from the header's beginning
        at: usize,
        /// what should stand there
        expected: &'static str,
    },
    /// More ext fields than anybody needs.
    #[error("the header has more than {max} ext fields", max = crate::ext::FIELDS_MAX)]
    TooManyFields,
}

/// Reads the frame at the beginning of `buf`: the frame and the bytes it took, or `None` while it is not complete.
pub fn decode<'a>(buf: &'a [u8], limits: &Limits) -> Result<Option<(Frame<'a>, usize)>, FrameError> {
    let Some(bytes) = length(buf, limits)? else { return Ok(None) };
    let Some((word, rest)) = buf.get(4..bytes).and_then(|frame| frame.split_first_chunk::<4>()) else {
        return Ok(None);
    };
    let serialize = Serialize::of(word[0])?;
    // `length` checked that the header ends within the frame.
    let Some((header, body)) = rest.split_at_checked(header_length(*word)) else { return Ok(None) };
    let mut frame = match serialize {
        Serialize::Json => json::decode(header)?,
        Serialize::Binary => binary::decode(header)?,
    };
    frame.body = body;
    Ok(Some((frame, bytes)))
}

/// The size of the frame at the beginning of `buf`, with its length field, as soon as it is known: so that a reader can make
/// room for all of it. Refuses what [`decode`] would refuse, as early as it can be seen.
pub fn length(buf: &[u8], limits: &Limits) -> Result<Option<usize>, FrameError> {
    let Some((word, rest)) = buf.split_first_chunk::<4>() else { return Ok(None) };
    let follows = i32::from_be_bytes(*word);
    let follows = match usize::try_from(follows) {
        Ok(follows) if follows >= 4 => follows,
        _ => return Err(FrameError::TooShort(follows)),
    };
    if follows > limits.frame_bytes_max.saturating_sub(4) {
        return Err(FrameError::TooLong { bytes: follows.saturating_add(4), max: limits.frame_bytes_max });
    }
    if let Some((word, _)) = rest.split_first_chunk::<4>() {
        Serialize::of(word[0])?;
        let (header, room) = (header_length(*word), follows - 4);
        if header > room {
            return Err(FrameError::HeaderTooLong { header, room });
        }
    }
    Ok(Some(follows + 4))
}

fn header_length(word: [u8; 4]) -> usize {
    (u32::from_be_bytes(word) & 0x00FF_FFFF) as usize
}

impl Serialize {
    /// The number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::Binary => 1,
        }
    }

    fn of(number: u8) -> Result<Self, FrameError> {
        match number {
            0 => Ok(Self::Json),
            1 => Ok(Self::Binary),
            other => Err(FrameError::UnknownSerialize(other)),
        }
    }
}

/// Bits of [`Frame::flag`].
pub mod flag {
    /// This is a reply.
    pub const REPLY: i32 = 1;
    /// No reply is wanted.
    pub const ONE_WAY: i32 = 2;
}

impl Frame<'_> {
    /// Whether this answers a request of ours.
    pub fn is_reply(&self) -> bool {
        self.flag & flag::REPLY != 0
    }

    /// Whether the sender wants no reply; whatever happens, none may be sent.
    pub fn is_oneway(&self) -> bool {
        self.flag & flag::ONE_WAY != 0
    }

    /// Header bytes that never were: what JSON leaves out has these values, as in Java.
    fn empty(serialize: Serialize) -> Self {
        Frame {
            code: 0,
            language: crate::language::JAVA,
            version: 0,
            opaque: 0,
            flag: 0,
            remark: None,
            ext: Ext::EMPTY,
            body: &[],
            serialize,
        }
    }
}

/// Bytes before a header, with both lengths left open. See [`close`].
pub(crate) fn open(out: &mut bytes::BytesMut, serialize: Serialize) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, serialize.number(), 0, 0, 0]);
    start
}

/// Fills in the lengths of the frame opened at `start`, whose header ends where `out` ends and whose body has `body_len` bytes.
/// `false` where it is larger than any peer reads; the caller then removes it.
pub(crate) fn close(out: &mut bytes::BytesMut, start: usize, body_len: usize) -> bool {
    let header_len = out.len() - start - PREFIX_BYTES;
    let follows = header_len.saturating_add(body_len).saturating_add(4);
    if follows > FRAME_BYTES_MAX - 4 {
        return false;
    }
    // Both fit: they are below 2^24.
    out[start..start + 4].copy_from_slice(&(follows as u32).to_be_bytes());
    out[start + 5..start + PREFIX_BYTES].copy_from_slice(&(header_len as u32).to_be_bytes()[1..]);
    true
}

#[cfg(test)]
mod tests;
