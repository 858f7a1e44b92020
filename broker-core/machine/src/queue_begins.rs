//! Where queues begin, for those that no longer begin where the log has their first record.

use halley_model::{QueueOffset, TopicName};
use std::collections::BTreeMap;

/// First offsets by topic and queue. A queue never begins earlier again, so that no offset is ever given twice.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct QueueBegins {
    table: BTreeMap<TopicName, Vec<QueueOffset>>,
}

impl QueueBegins {
    /// The topic's queues begin at these offsets, those that begin later stay.
    pub fn raise(&mut self, topic: &TopicName, begins: &[QueueOffset]) {
        if begins.iter().all(|begin| *begin == 0) {
            return;
        }
        let known = self.table.entry(topic.clone()).or_default();
        if known.len() < begins.len() {
            known.resize(begins.len(), 0);
        }
        for (known, begin) in known.iter_mut().zip(begins) {
            *known = (*known).max(*begin);
        }
    }

    /// All topics with the first offsets of their queues, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicName, &[QueueOffset])> {
        self.table.iter().map(|(topic, begins)| (topic, begins.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_never_begin_earlier() {
        let topic = TopicName::new("t").unwrap();
        let mut begins = QueueBegins::default();
        begins.raise(&topic, &[0, 0]);
        assert_eq!(begins.iter().count(), 0);
        begins.raise(&topic, &[5, 1]);
        begins.raise(&topic, &[2, 3, 7]);
        begins.raise(&topic, &[6]);
        assert_eq!(begins.iter().collect::<Vec<_>>(), [(&topic, &[6, 3, 7][..])]);
    }
}
