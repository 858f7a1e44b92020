//! A stored record seen as an event: its own attributes, or those that any RocketMQ message gets.

use crate::{
    attribute::{self, REQUIRED},
    time,
};
use flate2::read::ZlibDecoder;
use halley_model::{RecordView, id, property, record::flag};
use lz4_flex::frame::FrameDecoder;
use ruzstd::decoding::StreamingDecoder;
use std::{borrow::Cow, io::Read};

/// Longest data that a compressed message may hold, in bytes; RocketMQ itself has no such bound.
pub const PLAIN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why a message's data cannot be read. It never can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    /// Compressed in a way that is not understood.
    #[error("the message is compressed with {0}, which is not supported")]
    Compression(&'static str),
    /// Not what its flag says.
    #[error("the message's compressed body is damaged")]
    Damaged,
    /// Too long.
    #[error("the message has more than {PLAIN_BYTES_MAX} bytes when decompressed")]
    TooLong,
}

fn read_bounded(decoder: impl Read) -> Result<Vec<u8>, DataError> {
    let mut plain = Vec::new();
    match decoder.take(PLAIN_BYTES_MAX + 1).read_to_end(&mut plain) {
        Err(_) => Err(DataError::Damaged),
        Ok(length) if length as u64 > PLAIN_BYTES_MAX => Err(DataError::TooLong),
        Ok(_) => Ok(plain),
    }
}

/// The type of messages that are not events.
pub const MESSAGE_TYPE: &str = "org.apache.rocketmq.message";

/// The attributes that a message shows, in this order.
const OF_MESSAGE: [&str; 10] = [
    "specversion",
    "id",
    "source",
    "type",
    "datacontenttype",
    "time",
    "rocketmqtag",
    "rocketmqkeys",
    "rocketmqqueueid",
    "rocketmqoffset",
];

/// A view of a record as an event. Nothing is copied but what must be derived.
#[derive(Debug, Clone, Copy)]
pub struct EventView<'a> {
    record: RecordView<'a>,
    cluster: &'a str,
    is_event: bool,
}

impl<'a> EventView<'a> {
    /// A view of a record; `cluster` becomes part of a message's source.
    pub fn new(record: RecordView<'a>, cluster: &'a str) -> Self {
        let is_event = record.property(property::EVENT_SPECVERSION).is_some();
        Self { record, cluster, is_event }
    }

    /// The record.
    pub fn record(&self) -> RecordView<'a> {
        self.record
    }

    /// Whether it was stored as an event, rather than as a message.
    pub fn is_event(&self) -> bool {
        self.is_event
    }

    /// The data. Java clients compress bodies of 4 KiB or more (`compressMsgBodyOverHowmuch`), with zlib, or as LZ4 or
    /// Zstandard frames where told to; who looks at a message as an event wants what the producer sent.
    pub fn data(&self) -> Result<Cow<'a, [u8]>, DataError> {
        let body = self.record.body();
        if self.record.system_flag() & flag::COMPRESSED == 0 {
            return Ok(Cow::Borrowed(body));
        }
        // Bits 8 to 10 name the algorithm; old clients leave them 0 and mean zlib (`MessageSysFlag`, 5.5).
        let plain = match self.record.system_flag() >> 8 & 7 {
            0 | 3 => read_bounded(ZlibDecoder::new(body)),
            1 => read_bounded(FrameDecoder::new(body)),
            // A frame may ask for a window of up to 100 MiB; memory is touched only as far as data comes.
            2 => read_bounded(StreamingDecoder::new(body).map_err(|_| DataError::Damaged)?),
            _ => Err(DataError::Compression("an unknown algorithm")),
        };
        plain.map(Cow::Owned)
    }

    /// An attribute's value. An event that lacks a required one, as RocketMQ clients can write it, shows the message's.
    pub fn attribute(&self, name: &str) -> Option<Cow<'a, str>> {
        if self.is_event {
            let stored = attribute::property_of(self.record.properties(), name);
            let known = stored.filter(|value| !value.is_empty() || !REQUIRED.contains(&name));
            if known.is_some() || !REQUIRED.contains(&name) {
                return known.map(Cow::Borrowed);
            }
        }
        let property = |key| self.record.property(key).filter(|value| !value.is_empty()).map(Cow::Borrowed);
        Some(match name {
            "specversion" => Cow::Borrowed("1.0"),
            "id" => property(property::UNIQUE_KEY)
                .unwrap_or_else(|| id::offset_id(self.record.store_host(), self.record.log_offset()).into()),
            "source" => format!("/rocketmq/{}/{}", self.cluster, self.record.topic()).into(),
            "type" => Cow::Borrowed(MESSAGE_TYPE),
            "datacontenttype" => property("contentType").unwrap_or(Cow::Borrowed("application/octet-stream")),
            "time" => time::format(self.record.stored()).into(),
            "rocketmqtag" => property(property::TAGS)?,
            "rocketmqkeys" => property(property::KEYS)?,
            "rocketmqqueueid" => self.record.queue().to_string().into(),
            "rocketmqoffset" => self.record.queue_offset().to_string().into(),
            _ => return None,
        })
    }

    /// All attributes with their values.
    pub fn attributes(&self) -> Vec<(&'a str, Cow<'a, str>)> {
        if self.is_event {
            return self.attributes_of_event();
        }
        OF_MESSAGE.iter().filter_map(|name| Some((*name, self.attribute(name)?))).collect()
    }

    /// What RocketMQ clients store is not checked: names that are none are left out, of two alike the first counts.
    fn attributes_of_event(&self) -> Vec<(&'a str, Cow<'a, str>)> {
        let mut all: Vec<(&str, Cow<'_, str>)> = Vec::with_capacity(12);
        for (key, _) in property::iter(self.record.properties()) {
            let Some(name) = key.strip_prefix(property::EVENT_PREFIX) else { continue };
            if attribute::is_name(name) && !all.iter().any(|(known, _)| *known == name) {
                // Asked for anew, so that rules and targets never see different values.
                all.extend(self.attribute(name).map(|value| (name, value)));
            }
        }
        for name in REQUIRED {
            if !all.iter().any(|(known, _)| *known == name) {
                all.extend(self.attribute(name).map(|value| (name, value)));
            }
        }
        all
    }

    /// What SQL92 calls `name`: an event's attribute, else a property.
    pub fn property(&self, name: &str) -> Option<&'a str> {
        let properties = self.record.properties();
        let attribute = if self.is_event { attribute::property_of(properties, name) } else { None };
        attribute.or_else(|| property::get(properties, name))
    }

    /// The message's tag.
    pub fn tag(&self) -> Option<&'a str> {
        self.record.property(property::TAGS)
    }
}
