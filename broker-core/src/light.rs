//! Light queues (`%LMQ%`), where the broker has them: messages go into those that their producer names, and anybody reads
//! them like topics of one queue that nobody has to create (`LmqTopicConfigManager`, `LmqSubscriptionGroupManager`,
//! `LmqDispatch`, 5.5).

use crate::settings::{Flag, Number, Settings};
use halley_model::{RecordBody, light, property};
use halley_store::{LogReader, disk::Disk};

/// Whether the name is one of a light queue here, or of a group that reads some.
pub(crate) fn is_light(settings: &Settings, name: &str) -> bool {
    light::is_light(name) && settings.is(Flag::LightQueues)
}

/// Whether messages that name light queues are put into them.
pub(crate) fn is_dispatching(settings: &Settings) -> bool {
    settings.is(Flag::LightQueues) && settings.is(Flag::MultiDispatch)
}

/// The record, which goes into light queues too where its properties name some.
pub(crate) fn dispatched<'a>(settings: &Settings, body: RecordBody<'a>) -> RecordBody<'a> {
    let dispatched = is_dispatching(settings)
        && light::is_allowed(body.topic)
        && property::get(body.properties, property::MULTI_DISPATCH).is_some();
    RecordBody { dispatched, ..body }
}

/// Whether a message of `topic` with these properties would make more light queues than there may be
/// (`HookUtils.handleLmqQuota`, 5.5).
pub(crate) fn exceeds_quota<D: Disk>(
    settings: &Settings,
    reader: &LogReader<D>,
    topic: &str,
    properties: &[u8],
) -> bool {
    if !settings.is(Flag::LightQuota) {
        return false;
    }
    let max = usize::try_from(settings.number(Number::LightQueuesMax)).unwrap_or(0);
    let list = property::get(properties, property::MULTI_DISPATCH).unwrap_or_default();
    reader.light_queues() >= max
        && light::names(list, topic).flatten().any(|name| reader.bounds(name, light::QUEUE).is_none())
}
