//! Message properties as stored: `key \x01 value \x02` repeated, UTF-8, the last `\x02` optional when read.
//!
//! The raw bytes are scanned in place; nothing builds a map (RocketMQ `MessageDecoder.string2messageProperties`).

/// Between a property's key and its value.
pub const KEY_END: u8 = 1;
/// After a property's value.
pub const VALUE_END: u8 = 2;

/// Longest encoded property block, in bytes (the length is a Java `short`).
pub const PROPERTIES_BYTES_MAX: usize = i16::MAX as usize;

/// The message's tag (or tags), used by tag subscriptions.
pub const TAGS: &str = "TAGS";
/// Space-separated keys under which the message can be looked up.
pub const KEYS: &str = "KEYS";
/// The id given by the producing client.
pub const UNIQUE_KEY: &str = "UNIQ_KEY";
/// Whether the producer waits for the store (`"true"` or `"false"`).
pub const WAIT_STORE: &str = "WAIT";
/// Delay level 1 to 18.
pub const DELAY_LEVEL: &str = "DELAY";
/// The lite topic that a message belongs to.
pub const LITE_TOPIC: &str = "__LITE_TOPIC";
/// Names of light queues between commas, see [`crate::light`].
pub const MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
/// A record's offsets in them; set by the store.
pub const MULTI_QUEUE_OFFSETS: &str = "INNER_MULTI_QUEUE_OFFSET";
/// How urgent a message is, from 0 up: the queue that it goes to.
pub const PRIORITY: &str = "_SYS_MSG_PRIORITY_";
/// Messages of one key keep their order.
pub const SHARDING_KEY: &str = "__SHARDINGKEY";
/// Absolute delivery time, milliseconds since the epoch.
pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
/// Relative delivery time in milliseconds.
pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
/// Relative delivery time in seconds.
pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
/// When a timer message is due, milliseconds since the epoch; set by the broker.
pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
/// When a timer message was taken in, milliseconds since the epoch; set by the broker.
pub const TIMER_ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
/// When a timer message was delivered, milliseconds since the epoch; set by the broker.
pub const TIMER_DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
/// How often RocketMQ stored a timer message again, whose time is further away than its timers reach.
pub const TIMER_ROLL_TIMES: &str = "TIMER_ROLL_TIMES";
/// The unique key of a timer message of the same delivery time that is recalled: `topic_key` or the key alone.
pub const TIMER_DELETE_KEY: &str = "TIMER_DEL_UNIQKEY";
/// `"true"` on a half message of a transaction.
pub const TRANSACTION_PREPARED: &str = "TRAN_MSG";
/// When a message from a POP retry topic was popped for the first time, in milliseconds.
pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
/// The group that a message in a POP retry topic is meant for.
pub const ORIGIN_GROUP: &str = "ORIGIN_GROUP";
/// The id of a transaction.
pub const TRANSACTION_ID: &str = "__transactionId__";
/// The first half message's offset in its queue, on one that RocketMQ stored again.
pub const TRANSACTION_QUEUE_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
/// How often the producer was asked about a transaction.
pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
/// How long the producer is not asked about a transaction, in seconds.
pub const CHECK_IMMUNITY_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
/// The group of the producer.
pub const PRODUCER_GROUP: &str = "PGROUP";
/// The topic of a message that waits in another one.
pub const REAL_TOPIC: &str = "REAL_TOPIC";
/// The queue of a message that waits in another topic.
pub const REAL_QUEUE: &str = "REAL_QID";
/// The topic that a message was in before it was tried again.
pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
/// The id of the message before it was tried again.
pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
/// The cluster that took the message in; set by the broker.
pub const CLUSTER: &str = "CLUSTER";
/// The receipt of a message that was popped; never stored.
pub const POP_RECEIPT: &str = "POP_CK";
/// The client id of the producer that waits for a reply.
pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
/// When a reply was pushed to that producer, milliseconds since the epoch.
pub const PUSH_REPLY_MS: &str = "PUSH_REPLY_TIME";
/// The region of the broker that stored the message.
pub const REGION: &str = "MSG_REGION";
/// Whether consumers trace the message; set by the broker.
pub const TRACE_SWITCH: &str = "TRACE_ON";
/// Prefix under which a CloudEvent's attributes are stored.
pub const EVENT_PREFIX: &str = "ce_";
/// The attribute whose presence makes a record an event.
pub const EVENT_SPECVERSION: &str = "ce_specversion";

/// The pairs of a raw property block, in stored order. Pairs without a key or separator are skipped, as RocketMQ does.
pub fn iter(raw: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    pairs(raw).filter_map(|(key, value)| {
        let (key, value) = (std::str::from_utf8(key).ok()?, std::str::from_utf8(value).ok()?);
        (!key.is_empty()).then_some((key, value))
    })
}

/// As [`iter`], but any bytes that have a separator: keys may be empty, and neither keys nor values need be UTF-8. For those
/// who look at few of many.
pub fn pairs(raw: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut separators = Separators::new(raw);
    let mut start = 0;
    std::iter::from_fn(move || {
        let mut split = None;
        while start < raw.len() {
            let end = separators.next().unwrap_or(raw.len());
            if raw.get(end) == Some(&KEY_END) {
                split = split.or(Some(end));
                continue;
            }
            let from = std::mem::replace(&mut start, end + 1);
            if let Some(split) = split.take() {
                return Some((&raw[from..split], &raw[split + 1..end]));
            }
        }
        None
    })
}

/// Where the bytes [`KEY_END`] and [`VALUE_END`] are. 64 bytes are looked at together, without a branch among them: keys and
/// values are too short for searches that must first find out how the processor searches.
struct Separators<'a> {
    /// What was not looked at yet, and where it begins.
    rest: &'a [u8],
    next: usize,
    /// Where the bytes of `found` begin.
    found_in: usize,
    /// A bit for each separator that was not told yet.
    found: u64,
}

impl<'a> Separators<'a> {
    fn new(raw: &'a [u8]) -> Self {
        Self { rest: raw, next: 0, found_in: 0, found: 0 }
    }
}

impl Iterator for Separators<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while self.found == 0 {
            if self.rest.is_empty() {
                return None;
            }
            let (block, rest) = self.rest.split_at(self.rest.len().min(64));
            self.found = separators_in(block);
            self.rest = rest;
            (self.found_in, self.next) = (self.next, self.next + 64);
        }
        let at = self.found_in + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(at)
    }
}

/// A bit for each byte of at most 64 that is [`KEY_END`] or [`VALUE_END`].
fn separators_in(block: &[u8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const LOW: u64 = 0x7F * ONES;
    // The highest bit of each byte that is not zero; no carry crosses bytes.
    let not_zero = |bytes: u64| ((bytes & LOW) + LOW) | bytes;
    let bits = |bytes: u64| {
        let (keys, values) = (bytes ^ (ONES * KEY_END as u64), bytes ^ (ONES * VALUE_END as u64));
        let separators = !(not_zero(keys) & not_zero(values)) & !LOW;
        // Eight bits, each at the end of its byte, are brought together in the highest byte.
        (separators >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    };
    let (words, last) = block.as_chunks::<8>();
    let mut found = 0;
    for (at, word) in words.iter().enumerate() {
        found |= bits(u64::from_le_bytes(*word)) << (8 * at);
    }
    if !last.is_empty() {
        let mut word = [0; 8];
        word[..last.len()].copy_from_slice(last);
        found |= bits(u64::from_le_bytes(word)) << (8 * words.len());
    }
    found
}

/// The value of the first property named `key` that [`iter`] gives, compared byte by byte.
pub fn get<'a>(raw: &'a [u8], key: &str) -> Option<&'a str> {
    let mut rest = raw;
    while !rest.is_empty() {
        let end = memchr::memchr(VALUE_END, rest).unwrap_or(rest.len());
        let pair = &rest[..end];
        if pair.len() > key.len()
            && pair[key.len()] == KEY_END
            && pair.starts_with(key.as_bytes())
            && let Ok(value) = std::str::from_utf8(&pair[key.len() + 1..])
        {
            return Some(value);
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    None
}

/// Appends the pairs of `raw` whose key is wanted to `out`, as they stand; broken pairs are left out.
pub fn copy_where(raw: &[u8], out: &mut Vec<u8>, wanted: impl Fn(&str) -> bool) {
    for (key, value) in iter(raw) {
        if wanted(key) {
            put(out, key, value);
        }
    }
}

/// Appends one pair. Returns `false`, appending nothing, where key or value contain a separator or the key is empty.
pub fn push(out: &mut Vec<u8>, key: &str, value: &str) -> bool {
    let clean = |text: &str| memchr::memchr2(KEY_END, VALUE_END, text.as_bytes()).is_none();
    if key.is_empty() || !clean(key) || !clean(value) {
        return false;
    }
    put(out, key, value);
    true
}

fn put(out: &mut Vec<u8>, key: &str, value: &str) {
    if out.last().is_some_and(|last| *last != VALUE_END) {
        out.push(VALUE_END);
    }
    out.extend_from_slice(key.as_bytes());
    out.push(KEY_END);
    out.extend_from_slice(value.as_bytes());
    out.push(VALUE_END);
}

/// The block with these pairs set: one that is there under the key is replaced, the others stay as they are. Pairs that
/// [`push`] would not take are left out.
pub fn with(raw: &[u8], changes: &[(&str, String)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + 64);
    for pair in raw.split_inclusive(|byte| *byte == VALUE_END) {
        let is_changed = |key: &str| {
            pair.len() > key.len() && pair[key.len()] == KEY_END && pair.starts_with(key.as_bytes())
        };
        if !changes.iter().any(|(key, _)| is_changed(key)) {
            out.extend_from_slice(pair);
        }
    }
    for (key, value) in changes {
        push(&mut out, key, value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_java_writes() {
        let raw = b"KEYS\x01a b\x02broken\x02TAGS\x01blue\x02\x01nokey\x02WAIT\x01true";
        assert_eq!(iter(raw).collect::<Vec<_>>(), [("KEYS", "a b"), ("TAGS", "blue"), ("WAIT", "true")]);
        assert_eq!(get(raw, "TAGS"), Some("blue"));
        assert_eq!(get(raw, "WAIT"), Some("true"));
        assert_eq!(get(raw, "TAG"), None);
        let mut more = raw.to_vec();
        assert!(push(&mut more, "x", "1"));
        assert_eq!(get(&more, "WAIT"), Some("true"));
        assert_eq!(get(&more, "x"), Some("1"));
        assert!(!push(&mut more, "x", "a\x02b"));
        let mut some = Vec::new();
        copy_where(&more, &mut some, |key| key != "KEYS" && key != "x");
        assert_eq!(some, b"TAGS\x01blue\x02WAIT\x01true\x02");
    }

    proptest! {
        #[test]
        fn pairs_are_those_between_separators(raw in prop::collection::vec(0_u8..5, 0..80)) {
            let pieces = raw.split(|byte| *byte == VALUE_END);
            let expected: Vec<_> = pieces
                .filter_map(|pair| {
                    let split = pair.iter().position(|byte| *byte == KEY_END)?;
                    Some((&pair[..split], &pair[split + 1..]))
                })
                .collect();
            prop_assert_eq!(pairs(&raw).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn separators_are_found_among_any_bytes(raw in prop::collection::vec(any::<u8>(), 0..80)) {
            let found: Vec<_> = Separators::new(&raw).collect();
            let is_separator = |at: &usize| [KEY_END, VALUE_END].contains(&raw[*at]);
            prop_assert_eq!(found, (0..raw.len()).filter(is_separator).collect::<Vec<_>>());
        }
    }

    #[test]
    fn pairs_are_set() {
        let raw = b"a\x011\x02b\x012\x02ab\x013";
        assert_eq!(
            with(raw, &[("a", "x".into()), ("c", "y".into())]),
            b"b\x012\x02ab\x013\x02a\x01x\x02c\x01y\x02"
        );
        assert_eq!(with(b"", &[("a", "\x02".into())]), b"");
    }

    proptest! {
        #[test]
        fn pushed_pairs_come_back(pairs in proptest::collection::vec(("[a-zA-Z_]{1,12}", "[^\x01\x02]{0,20}"), 0..8)) {
            let mut raw = Vec::new();
            for (key, value) in &pairs {
                prop_assert!(push(&mut raw, key, value));
            }
            let back: Vec<_> = iter(&raw).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(&back, &pairs);
            for (key, _) in &pairs {
                let first = pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
                prop_assert_eq!(get(&raw, key), first);
            }
        }

        #[test]
        fn any_bytes_are_read(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = iter(&raw).count();
            let _ = get(&raw, "TAGS");
        }
    }
}
