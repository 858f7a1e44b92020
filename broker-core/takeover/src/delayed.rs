//! A message that waits for a delay level.

use halley_machine::delay::{Due, LEVELS_MS, TIMER_TOPIC};
use halley_model::{Millis, QueueId, RecordBody, RecordView, property};

/// The queue of [`super::SCHEDULE_TOPIC`] in which messages of a level wait.
pub fn queue_of(level: u8) -> QueueId {
    QueueId::from(level) - 1
}

/// All levels.
pub fn levels() -> impl Iterator<Item = u8> {
    1..=LEVELS_MS.len() as u8
}

/// When a message of a level is due that was stored at this time.
pub fn due(level: u8, stored: Millis) -> Millis {
    stored.saturating_add(LEVELS_MS[usize::from(level) - 1])
}

/// What to store under [`TIMER_TOPIC`] so that the message is delivered at its time; `properties` holds its properties. `None`
/// where the record does not say where it belongs.
pub fn waiting<'a>(
    record: &RecordView<'a>,
    level: u8,
    now: Millis,
    properties: &'a mut Vec<u8>,
) -> Option<RecordBody<'a>> {
    let topic = record.property(property::REAL_TOPIC)?;
    let queue = record.property(property::REAL_QUEUE)?.parse().ok()?;
    let mut own = Vec::new();
    property::copy_where(record.properties(), &mut own, |key| key != property::DELAY_LEVEL);
    Due::At(due(level, record.stored())).detour(&own, topic, queue, now, properties);
    if properties.len() > property::PROPERTIES_BYTES_MAX {
        // There is no room for its time: it waits anew.
        properties.clear();
        properties.extend_from_slice(record.properties());
    }
    Some(RecordBody { topic: TIMER_TOPIC, queue: 0, properties, ..RecordBody::of(record) })
}
