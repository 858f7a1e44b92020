//! Under what a record is found: its unique key, its keys, its tag (`IndexService.buildIndex`, RocketMQ 5.5).

use halley_model::{RecordView, property};

/// What a record is looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// The unique key that its producer gave it (`UNIQ_KEY`), or one of its keys (`KEYS`, split at spaces). RocketMQ keeps
    /// both under the same name, so that asking for either finds both.
    Key,
    /// All of its tag (`TAGS`), since 5.5.
    Tag,
}

/// Between the keys of one record.
const KEY_SEPARATOR: u8 = b' ';

/// Bits of the system flag that tell a transaction's state; [`ROLLBACK`] are its rolled back messages.
const TRANSACTION: i32 = 3 << 2;
const ROLLBACK: i32 = 3 << 2;

/// Calls `each` for everything that the record can be found by, the same thing perhaps twice.
pub(crate) fn for_each<'r>(record: &RecordView<'r>, mut each: impl FnMut(KeyKind, &'r [u8])) {
    if record.system_flag() & TRANSACTION == ROLLBACK {
        return;
    }
    let mut rest = record.properties();
    while !rest.is_empty() {
        let end = memchr::memchr(property::VALUE_END, rest).unwrap_or(rest.len());
        let pair = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        if let Some(key) = value_of(pair, property::UNIQUE_KEY) {
            each(KeyKind::Key, key);
        } else if let Some(keys) = value_of(pair, property::KEYS) {
            keys.split(|byte| *byte == KEY_SEPARATOR)
                .filter(|key| !key.is_empty())
                .for_each(|key| each(KeyKind::Key, key));
        } else if let Some(tag) = value_of(pair, property::TAGS)
            && !tag.is_empty()
        {
            each(KeyKind::Tag, tag);
        }
    }
}

/// Whether the record can be found so.
pub(crate) fn is_found_by(record: &RecordView<'_>, topic: &str, kind: KeyKind, key: &[u8]) -> bool {
    let mut found = false;
    if record.topic() == topic {
        for_each(record, |of, term| found |= of == kind && term == key);
    }
    found
}

fn value_of<'p>(pair: &'p [u8], name: &str) -> Option<&'p [u8]> {
    let value = pair.strip_prefix(name.as_bytes())?;
    value.strip_prefix(&[property::KEY_END])
}

/// Hashes terms; remembers the part of the last topic.
pub(crate) struct Hashing {
    topic: String,
    prefix: crc32fast::Hasher,
}

impl Hashing {
    pub(crate) fn new() -> Self {
        Self { topic: String::new(), prefix: prefix_of("") }
    }

    /// CRC-32 of `topic#key`, of a tag `topic#T#tag`.
    pub(crate) fn hash(&mut self, topic: &str, kind: KeyKind, key: &[u8]) -> u32 {
        if self.topic != topic {
            topic.clone_into(&mut self.topic);
            self.prefix = prefix_of(topic);
        }
        let mut hasher = self.prefix.clone();
        match kind {
            KeyKind::Key => {}
            KeyKind::Tag => hasher.update(b"T#"),
        }
        hasher.update(key);
        hasher.finalize()
    }
}

fn prefix_of(topic: &str) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(topic.as_bytes());
    hasher.update(b"#");
    hasher
}
