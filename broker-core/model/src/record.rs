//! The stored record: RocketMQ's commit-log message, byte for byte, so that stored bytes are the bytes sent to
//! consumers (`MessageExtEncoder`, `MessageDecoder`, 5.5). All integers are big-endian.
//!
//! ```text
//!  0 total size        4     28 physical offset    8     v4 addresses (v6: 16 + 4 each)
//!  4 magic             4     36 system flag        4     48 born host          4 + 4
//!  8 body CRC          4     40 born timestamp     8     56 store timestamp    8
//! 12 queue id          4                                 64 store host         4 + 4
//! 16 flag              4                                 72 reconsume times    4
//! 20 queue offset      8                                 76 prepared offset    8
//! 84 body length 4, body · topic length 1 (v2: 2), topic · properties length 2, properties
//! ```
//! Invariants: total size is exact; physical offset is where the record lies; the CRC covers the body only
//! (the frame around records covers everything, see `docs/format/log.md`).

use crate::{LogOffset, Millis, QueueId, QueueOffset, name, property};
use bytes::{BufMut, Bytes};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// First version of the layout: the topic's length is one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Second version: the topic's length is two bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;

/// Bits of the system flag.
pub mod flag {
    /// The body is compressed.
    pub const COMPRESSED: i32 = 1;
    /// Bits of a transaction's state: 4 prepared, 8 commit, 12 rollback.
    pub const TRANSACTION: i32 = 0xC;
    /// The born host is an IPv6 address.
    pub const BORN_HOST_V6: i32 = 0x10;
    /// The store host is an IPv6 address.
    pub const STORE_HOST_V6: i32 = 0x20;
}

/// Shortest possible record, in bytes: IPv4 hosts, no body, no properties, topic of no bytes.
pub const RECORD_BYTES_MIN: usize = 91;

/// Longest possible record, in bytes.
pub const RECORD_BYTES_MAX: usize = RECORD_BYTES_MIN
    + 2 * 12
    + crate::BODY_BYTES_MAX
    + name::DERIVED_TOPIC_BYTES_MAX
    + 1
    + property::PROPERTIES_BYTES_MAX;

/// What a producer gives: everything of a record but its place and time.
#[derive(Debug, Clone, Copy)]
pub struct RecordBody<'a> {
    /// The topic, already checked (see [`crate::TopicName`]).
    pub topic: &'a str,
    /// The queue inside the topic.
    pub queue: QueueId,
    /// The application's own flag, passed through.
    pub flag: i32,
    /// The system flag; address bits are set by the encoder.
    pub system_flag: i32,
    /// When the producer made the message.
    pub born: Millis,
    /// From where it came.
    pub born_host: SocketAddr,
    /// How often a consumer failed on it before.
    pub reconsume_times: i32,
    /// The log offset of the half message of a message that was committed, else 0.
    pub prepared_offset: u64,
    /// The payload, at most [`crate::BODY_BYTES_MAX`].
    pub body: &'a [u8],
    /// Raw properties (see [`property`]), at most [`property::PROPERTIES_BYTES_MAX`].
    pub properties: &'a [u8],
    /// Whether the store puts the record also into the light queues that its properties name, see [`crate::light`].
    pub dispatched: bool,
}

/// Where and when a record is stored.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its position in its queue.
    pub queue_offset: QueueOffset,
    /// Its position in the log.
    pub log_offset: LogOffset,
    /// When it was stored.
    pub stored: Millis,
    /// The broker's address, which makes part of the message id.
    pub store_host: SocketAddr,
}

/// Why a record cannot be encoded: a limit of the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The body is too long.
    #[error("the body has {0} bytes, at most {max} are allowed", max = crate::BODY_BYTES_MAX)]
    BodyTooLong(usize),
    /// The properties are too long.
    #[error("the properties have {0} bytes, at most {max} are allowed", max = property::PROPERTIES_BYTES_MAX)]
    PropertiesTooLong(usize),
    /// The topic is too long.
    #[error("the topic has {0} bytes, at most {max} are allowed", max = name::DERIVED_TOPIC_BYTES_MAX)]
    TopicTooLong(usize),
}

impl<'a> RecordBody<'a> {
    /// What the producer of a stored record gave, to store it again, in no light queue.
    pub fn of(record: &RecordView<'a>) -> Self {
        Self {
            topic: record.topic(),
            queue: record.queue(),
            flag: record.flag(),
            system_flag: record.system_flag(),
            born: record.born(),
            born_host: record.born_host(),
            reconsume_times: record.reconsume_times(),
            prepared_offset: record.prepared_offset(),
            body: record.body(),
            properties: record.properties(),
            dispatched: false,
        }
    }

    /// Checks the limits of the format.
    pub fn check(&self) -> Result<(), RecordError> {
        if self.body.len() > crate::BODY_BYTES_MAX {
            return Err(RecordError::BodyTooLong(self.body.len()));
        }
        if self.properties.len() > property::PROPERTIES_BYTES_MAX {
            return Err(RecordError::PropertiesTooLong(self.properties.len()));
        }
        if self.topic.len() > name::DERIVED_TOPIC_BYTES_MAX {
            return Err(RecordError::TopicTooLong(self.topic.len()));
        }
        Ok(())
    }

    /// The encoded size in bytes for a store host of this kind.
    pub fn encoded_len(&self, store_host: &SocketAddr) -> usize {
        let topic_len_bytes = if self.topic.len() > 127 { 2 } else { 1 };
        72 + host_bytes(&self.born_host)
            + host_bytes(store_host)
            + self.body.len()
            + topic_len_bytes
            + self.topic.len()
            + 2
            + self.properties.len()
    }

    /// Appends the record. The caller has checked the limits with [`RecordBody::check`].
    pub fn encode(&self, place: &Place, out: &mut impl BufMut) {
        let long_topic = self.topic.len() > 127;
        let mut system_flag = self.system_flag & !(flag::BORN_HOST_V6 | flag::STORE_HOST_V6);
        if self.born_host.is_ipv6() {
            system_flag |= flag::BORN_HOST_V6;
        }
        if place.store_host.is_ipv6() {
            system_flag |= flag::STORE_HOST_V6;
        }
        out.put_u32(self.encoded_len(&place.store_host) as u32);
        out.put_u32(if long_topic { MAGIC_V2 } else { MAGIC_V1 });
        out.put_u32(crc32fast::hash(self.body) & 0x7FFF_FFFF);
        out.put_u32(self.queue);
        out.put_i32(self.flag);
        out.put_u64(place.queue_offset);
        out.put_u64(place.log_offset);
        out.put_i32(system_flag);
        out.put_i64(self.born);
        put_host(out, &self.born_host);
        out.put_i64(place.stored);
        put_host(out, &place.store_host);
        out.put_i32(self.reconsume_times);
        out.put_u64(self.prepared_offset);
        out.put_u32(self.body.len() as u32);
        out.put_slice(self.body);
        if long_topic {
            out.put_u16(self.topic.len() as u16);
        } else {
            out.put_u8(self.topic.len() as u8);
        }
        out.put_slice(self.topic.as_bytes());
        out.put_u16(self.properties.len() as u16);
        out.put_slice(self.properties);
    }
}

fn host_bytes(host: &SocketAddr) -> usize {
    if host.is_ipv4() { 8 } else { 20 }
}

fn put_host(out: &mut impl BufMut, host: &SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => out.put_slice(&ip.octets()),
        IpAddr::V6(ip) => out.put_slice(&ip.octets()),
    }
    out.put_u32(u32::from(host.port()));
}

/// A stored record, read in place.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    bytes: &'a [u8],
    store_host_at: usize,
    body_at: usize,
    body_len: usize,
    topic_at: usize,
    topic_len: usize,
    properties_at: usize,
}

/// Why bytes are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Fewer bytes than the record says it has, or than any record has.
    #[error("a record of {expected} bytes is cut off after {found}")]
    Truncated {
        /// bytes the record should have
        expected: usize,
        /// bytes there are
        found: usize,
    },
    /// The magic number is not one of a record.
    #[error("0x{0:08X} is not a record's magic number")]
    Magic(u32),
    /// A length inside the record points outside it.
    #[error("the record's {0} does not fit its total size")]
    Length(&'static str),
    /// The topic is not UTF-8.
    #[error("the record's topic is not UTF-8")]
    Topic,
}

impl<'a> RecordView<'a> {
    /// Reads the record at the start of `bytes`; bytes after it are ignored.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        if bytes.len() < RECORD_BYTES_MIN {
            return Err(ParseError::Truncated { expected: RECORD_BYTES_MIN, found: bytes.len() });
        }
        let total = u32_at(bytes, 0) as usize;
        let magic = u32_at(bytes, 4);
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(ParseError::Magic(magic));
        }
        if total < RECORD_BYTES_MIN {
            return Err(ParseError::Length("total size"));
        }
        if total > bytes.len() {
            return Err(ParseError::Truncated { expected: total, found: bytes.len() });
        }
        let bytes = &bytes[..total];
        let system_flag = u32_at(bytes, 36) as i32;
        let born_len = if system_flag & flag::BORN_HOST_V6 == 0 { 8 } else { 20 };
        let store_len = if system_flag & flag::STORE_HOST_V6 == 0 { 8 } else { 20 };
        let store_host_at = 48 + born_len + 8;
        let body_at = store_host_at + store_len + 12 + 4;
        let topic_len_bytes = if magic == MAGIC_V1 { 1 } else { 2 };
        if body_at + topic_len_bytes + 2 > total {
            return Err(ParseError::Length("header"));
        }
        let body_len = u32_at(bytes, body_at - 4) as usize;
        let topic_len_at = body_at.checked_add(body_len).ok_or(ParseError::Length("body length"))?;
        if topic_len_at + topic_len_bytes + 2 > total {
            return Err(ParseError::Length("body length"));
        }
        let topic_at = topic_len_at + topic_len_bytes;
        let topic_len = match topic_len_bytes {
            1 => usize::from(bytes[topic_len_at]),
            _ => usize::from(u16_at(bytes, topic_len_at)),
        };
        if topic_at + topic_len + 2 > total {
            return Err(ParseError::Length("topic length"));
        }
        let properties_at = topic_at + topic_len + 2;
        if properties_at + usize::from(u16_at(bytes, properties_at - 2)) != total {
            return Err(ParseError::Length("properties length"));
        }
        if std::str::from_utf8(&bytes[topic_at..topic_at + topic_len]).is_err() {
            return Err(ParseError::Topic);
        }
        Ok(Self { bytes, store_host_at, body_at, body_len, topic_at, topic_len, properties_at })
    }

    /// The whole record.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the whole record.
    pub fn total_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the body is what its CRC says.
    pub fn body_is_intact(&self) -> bool {
        crc32fast::hash(self.body()) & 0x7FFF_FFFF == self.body_crc()
    }

    /// CRC-32 of the body without its highest bit.
    pub fn body_crc(&self) -> u32 {
        u32_at(self.bytes, 8)
    }

    /// The queue inside the topic.
    pub fn queue(&self) -> QueueId {
        u32_at(self.bytes, 12)
    }

    /// The application's flag.
    pub fn flag(&self) -> i32 {
        u32_at(self.bytes, 16) as i32
    }

    /// Position in its queue.
    pub fn queue_offset(&self) -> QueueOffset {
        u64_at(self.bytes, 20)
    }

    /// Position in the log.
    pub fn log_offset(&self) -> LogOffset {
        u64_at(self.bytes, 28)
    }

    /// The system flag.
    pub fn system_flag(&self) -> i32 {
        u32_at(self.bytes, 36) as i32
    }

    /// When the producer made it.
    pub fn born(&self) -> Millis {
        u64_at(self.bytes, 40) as i64
    }

    /// From where it came.
    pub fn born_host(&self) -> SocketAddr {
        self.host(48, self.system_flag() & flag::BORN_HOST_V6 != 0)
    }

    /// When it was stored.
    pub fn stored(&self) -> Millis {
        u64_at(self.bytes, self.store_host_at - 8) as i64
    }

    /// The broker that stored it.
    pub fn store_host(&self) -> SocketAddr {
        self.host(self.store_host_at, self.system_flag() & flag::STORE_HOST_V6 != 0)
    }

    /// How often a consumer failed on it before.
    pub fn reconsume_times(&self) -> i32 {
        u32_at(self.bytes, self.body_at - 16) as i32
    }

    /// The half message that a transaction's end refers to.
    pub fn prepared_offset(&self) -> u64 {
        u64_at(self.bytes, self.body_at - 12)
    }

    /// The payload.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.body_at..self.body_at + self.body_len]
    }

    /// The payload as a slice of `owner`, which must be the buffer this view was parsed from (its first byte too).
    pub fn body_of(&self, owner: &Bytes) -> Bytes {
        owner.slice(self.body_at..self.body_at + self.body_len)
    }

    /// The topic.
    pub fn topic(&self) -> &'a str {
        std::str::from_utf8(&self.bytes[self.topic_at..self.topic_at + self.topic_len])
            .expect("parse checked that the topic is UTF-8")
    }

    /// The raw properties, see [`property`].
    pub fn properties(&self) -> &'a [u8] {
        &self.bytes[self.properties_at..]
    }

    /// The value of one property.
    pub fn property(&self, key: &str) -> Option<&'a str> {
        property::get(self.properties(), key)
    }

    fn host(&self, at: usize, v6: bool) -> SocketAddr {
        let (ip, port_at) = if v6 {
            let octets: [u8; 16] =
                self.bytes[at..at + 16].try_into().expect("parse checked the host's bytes");
            (IpAddr::from(octets), at + 16)
        } else {
            (IpAddr::V4(Ipv4Addr::from_bits(u32_at(self.bytes, at))), at + 4)
        };
        SocketAddr::new(ip, u32_at(self.bytes, port_at) as u16)
    }
}

/// The record as if it lay in another topic, with other properties: for replies, never for the log. Offsets, times and hosts
/// stay. Where the topic or the properties are too long for a record, the old ones stay too.
pub fn readdressed(record: &RecordView<'_>, topic: &str, properties: &[u8]) -> Bytes {
    let fits =
        topic.len() <= name::DERIVED_TOPIC_BYTES_MAX && properties.len() <= property::PROPERTIES_BYTES_MAX;
    if !fits {
        return Bytes::copy_from_slice(record.bytes());
    }
    let long_topic = topic.len() > 127;
    let body_end = record.body_at + record.body_len;
    let mut out = Vec::with_capacity(body_end + 4 + topic.len() + properties.len());
    out.extend_from_slice(&record.bytes[..body_end]);
    if long_topic {
        out.put_u16(topic.len() as u16);
    } else {
        out.put_u8(topic.len() as u8);
    }
    out.extend_from_slice(topic.as_bytes());
    out.put_u16(properties.len() as u16);
    out.extend_from_slice(properties);
    let total = (out.len() as u32).to_be_bytes();
    let magic = if long_topic { MAGIC_V2 } else { MAGIC_V1 };
    out[..4].copy_from_slice(&total);
    out[4..8].copy_from_slice(&magic.to_be_bytes());
    out.into()
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

#[cfg(test)]
mod tests;
