//! In which order a pop looks into queues (`PopMessageProcessor.processRequest` and `popMsgFromTopic`, 5.5).

use halley_model::QueueId;

/// Of 100 pops so many look into the retry topic first (`popFromRetryProbability`, 5.5).
pub const RETRY_FIRST_PERCENT: u32 = 20;

/// A queue to look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// Of the retry topic.
    pub retry: bool,
    /// The queue.
    pub queue: QueueId,
}

/// What a pop asks of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// One queue, all where `None`.
    pub queue: Option<QueueId>,
    /// Messages are consumed in order: a retry topic is of no use.
    pub ordered: bool,
    /// Queues of the topic.
    pub queues: u32,
    /// Queues of the retry topic, 0 where there is none.
    pub retry_queues: u32,
}

/// Whether the retry topic comes first. `number` is any number from 0 to 99, so that chance stays outside.
pub fn retry_first(number: u32) -> bool {
    number % 100 < RETRY_FIRST_PERCENT
}

/// The queues in the order in which to look into them. `number` is any number from 0 to 99: it says where to begin, and
/// whether in the retry topic.
pub fn stops(number: u32, wanted: Wanted) -> impl Iterator<Item = Stop> {
    let Wanted { queue, ordered, queues, retry_queues } = wanted;
    let first = retry_first(number);
    let all = move |queues: u32, retry| {
        (0..queues).map(move |at| Stop { retry, queue: (queues - 1 - at + number % 100) % queues })
    };
    let retries = move |now: bool| all(if now && !ordered { retry_queues } else { 0 }, true);
    let topic = all(if queue.is_none() { queues } else { 0 }, false);
    let single = queue.map(|queue| Stop { retry: false, queue });
    retries(first).chain(single).chain(topic).chain(retries(!first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(number: u32, wanted: Wanted) -> Vec<(bool, QueueId)> {
        stops(number, wanted).map(|stop| (stop.retry, stop.queue)).collect()
    }

    #[test]
    fn queues_are_visited_like_in_rocketmq() {
        let all = Wanted { queue: None, ordered: false, queues: 3, retry_queues: 1 };
        assert_eq!(check(19, all), [(true, 0), (false, 0), (false, 2), (false, 1)]);
        assert_eq!(check(20, all), [(false, 1), (false, 0), (false, 2), (true, 0)]);
        let one = Wanted { queue: Some(2), ..all };
        assert_eq!(check(99, one), [(false, 2), (true, 0)]);
        assert_eq!(check(0, Wanted { ordered: true, ..one }), [(false, 2)]);
        assert_eq!(check(0, Wanted { retry_queues: 0, ..one }), [(false, 2)]);
        assert_eq!((0..100).filter(|number| retry_first(*number)).count(), 20);
    }
}
