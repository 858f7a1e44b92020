//! In which order a pop looks into queues (`PopMessageProcessor.processRequest` and `popMsgFromTopic`, 5.5).

use halley_model::QueueId;

/// How a pop goes through queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The retry topic comes before the topic.
    pub retry_first: bool,
    /// So many queues further than the first.
    pub turn: u32,
    /// From the highest queue down.
    pub descending: bool,
}

/// How orders are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chances {
    /// Of 100 pops so many look into the retry topic first (`popFromRetryProbability`).
    pub retry_first: u32,
    /// The same of pops that go by priority (`popFromRetryProbabilityForPriority`).
    pub retry_first_by_priority: u32,
    /// Of 100 pops so many go by priority: the group's `priority.factor` where the topic has priorities.
    pub by_priority: u32,
    /// The highest queue is the most urgent (`priorityOrderAsc`).
    pub highest_first: bool,
}

impl Order {
    /// The order of one pop. `number` is any number from 0 to 99, so that chance stays outside.
    pub fn of(number: u32, chances: Chances) -> Self {
        let by_priority = number < chances.by_priority;
        let percent = if by_priority { chances.retry_first_by_priority } else { chances.retry_first };
        Self {
            retry_first: number < percent,
            turn: if by_priority { 0 } else { number },
            descending: chances.highest_first,
        }
    }
}

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

/// The queues in the order in which to look into them.
pub fn stops(order: Order, wanted: Wanted) -> impl Iterator<Item = Stop> {
    let Wanted { queue, ordered, queues, retry_queues } = wanted;
    let Order { retry_first, turn, descending } = order;
    let all = move |queues: u32, retry| {
        (0..queues).map(move |at| {
            let from = if descending { queues - 1 - at } else { at };
            Stop { retry, queue: (from + turn) % queues }
        })
    };
    let retries = move |now: bool| all(if now && !ordered { retry_queues } else { 0 }, true);
    let topic = all(if queue.is_none() { queues } else { 0 }, false);
    let single = queue.map(|queue| Stop { retry: false, queue });
    retries(retry_first).chain(single).chain(topic).chain(retries(!retry_first))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Chances =
        Chances { retry_first: 20, retry_first_by_priority: 0, by_priority: 0, highest_first: true };

    fn check(number: u32, wanted: Wanted) -> Vec<(bool, QueueId)> {
        check_with(number, USUAL, wanted)
    }

    fn check_with(number: u32, chances: Chances, wanted: Wanted) -> Vec<(bool, QueueId)> {
        stops(Order::of(number, chances), wanted).map(|stop| (stop.retry, stop.queue)).collect()
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
        assert_eq!((0..100).filter(|number| Order::of(*number, USUAL).retry_first).count(), 20);
    }

    #[test]
    fn priorities_go_before_turns() {
        let all = Wanted { queue: None, ordered: false, queues: 3, retry_queues: 2 };
        let always = Chances { by_priority: 100, ..USUAL };
        let falling = [(false, 2), (false, 1), (false, 0), (true, 1), (true, 0)];
        assert!((0..100).all(|number| check_with(number, always, all) == falling));
        let rising = Chances { highest_first: false, retry_first_by_priority: 100, ..always };
        assert_eq!(check_with(7, rising, all), [(true, 0), (true, 1), (false, 0), (false, 1), (false, 2)]);
        let half = Chances { by_priority: 50, ..USUAL };
        assert_eq!(check_with(49, half, all), falling);
        assert_eq!(check_with(50, half, all)[0], (false, 1));
    }
}
