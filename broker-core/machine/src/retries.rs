//! Where a message goes that its consumer failed on (`AbstractSendMessageProcessor.consumerSendMsgBack`, RocketMQ 5.5).

/// The first delay level of retries: ten seconds.
const FIRST_LEVEL: i32 = 3;

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Into its group's retry topic, after the delay of this level; none for levels below 1.
    Again {
        /// the level
        level: i32,
    },
    /// Into its group's dead letters, at once.
    DeadLetter,
}

/// What becomes of a message that was tried again `attempts` times before this failure and may be `attempts_max` times.
/// Level 0 means the usual delay, which grows with each attempt; a negative one, that the consumer gives up.
pub fn after_failure(attempts: i32, level: i32, attempts_max: i32) -> Next {
    match level {
        _ if level < 0 || attempts >= attempts_max => Next::DeadLetter,
        0 => Next::Again { level: attempts.saturating_add(FIRST_LEVEL) },
        _ => Next::Again { level },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_tried_again_so_often_and_no_oftener() {
        for attempts_max in 0..20 {
            let next = |attempts| after_failure(attempts, 0, attempts_max);
            let tried_again = (0..).take_while(|attempts| next(*attempts) != Next::DeadLetter).count();
            assert_eq!(tried_again, attempts_max as usize);
        }
    }

    #[test]
    fn delays_grow_unless_the_consumer_says_one() {
        assert_eq!(after_failure(0, 0, 16), Next::Again { level: 3 });
        assert_eq!(after_failure(5, 0, 16), Next::Again { level: 8 });
        assert_eq!(after_failure(5, 2, 16), Next::Again { level: 2 });
        assert_eq!(after_failure(i32::MAX - 1, 0, i32::MAX), Next::Again { level: i32::MAX });
    }

    #[test]
    fn a_consumer_may_give_up() {
        assert_eq!(after_failure(0, -1, 16), Next::DeadLetter);
        assert_eq!(after_failure(0, 1, -1), Next::DeadLetter);
    }
}
