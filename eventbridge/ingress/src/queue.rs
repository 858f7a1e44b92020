//! Which queue an event goes to: events that must stay in order go to one.

use halley_event::{ParsedEvent, attribute::property_of};
use halley_model::{QueueId, hash};

/// The queue for an event: by the value of the bus's ordering attribute, else by `partitionkey` (CloudEvents
/// partitioning extension); `None` for the broker's choice.
pub(crate) fn of(event: &ParsedEvent, order_key: Option<&str>, queues: u32) -> Option<QueueId> {
    let ordered = order_key.and_then(|name| property_of(&event.properties, name));
    let key = ordered.or_else(|| property_of(&event.properties, "partitionkey"))?;
    Some(hash::of_key(key.as_bytes()) % queues.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_queue() {
        let event =
            |properties: &[u8]| ParsedEvent { properties: properties.to_vec(), data: Default::default() };
        let keyed = event(b"ce_subject\x01a\x02ce_partitionkey\x01foobar\x02");
        assert_eq!(of(&keyed, Some("subject"), 8), Some(0xE40C_292C % 8));
        assert_eq!(of(&keyed, None, 8), Some(0xBF9C_F968 % 8));
        assert_eq!(of(&event(b"ce_id\x011\x02"), Some("subject"), 8), None);
    }
}
