//! What to answer to a pull, given the queue's bounds and what was found
//! (`DefaultMessageStore.getMessage`, `PullMessageProcessor.composeResponseHeader`, 5.5).

use halley_model::QueueOffset;

/// Most records in one reply (`maxTransferCountOnMessageInMemory`, 5.5).
pub const RECORDS_MAX: usize = 32;

/// About the most bytes in one reply (`maxTransferBytesOnMessageInMemory`, 5.5).
pub const BYTES_MAX: usize = 256 * 1024;

/// Most index entries that one pull looks through for a match (`maxFilterMessageSize` 16,000 bytes of 20, 5.5).
pub const SCAN_MAX: usize = 800;

/// Where an asked offset lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The queue holds nothing and never did.
    Empty,
    /// Before the first record still there.
    TooSmall,
    /// There are records to read.
    Readable,
    /// Just at the end: the next record will have this offset.
    End,
    /// Beyond the end.
    Beyond,
}

/// Where `offset` lies in a queue of these bounds.
pub fn position(offset: QueueOffset, min: QueueOffset, max: QueueOffset) -> Position {
    if max == 0 {
        Position::Empty
    } else if offset < min {
        Position::TooSmall
    } else if offset < max {
        Position::Readable
    } else if offset == max {
        Position::End
    } else {
        Position::Beyond
    }
}

/// The reply's code, beside its remark (the name RocketMQ gives the status).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 0: here are records.
    Found,
    /// 19: nothing there yet; a long poll waits.
    NotFound,
    /// 20: nothing matched in what was looked through; go on at the next offset.
    RetryImmediately,
    /// 21: go on at the next offset given.
    OffsetMoved,
}

/// The answer where there is nothing to read: its code, RocketMQ's remark, and the offset to go on from.
/// `None` for [`Position::Readable`].
pub fn unreadable(
    position: Position,
    offset: QueueOffset,
    min: QueueOffset,
    max: QueueOffset,
) -> Option<(Answer, &'static str, QueueOffset)> {
    Some(match position {
        Position::Empty if offset == 0 => (Answer::NotFound, "NO_MESSAGE_IN_QUEUE", 0),
        Position::Empty => (Answer::OffsetMoved, "NO_MESSAGE_IN_QUEUE", 0),
        Position::TooSmall => (Answer::OffsetMoved, "OFFSET_TOO_SMALL", min),
        Position::End => (Answer::NotFound, "OFFSET_OVERFLOW_ONE", offset),
        Position::Beyond => (Answer::OffsetMoved, "OFFSET_OVERFLOW_BADLY", max),
        Position::Readable => return None,
    })
}

/// The answer to a negative offset, which lies before every record: as [`unreadable`] has it.
pub fn negative(min: QueueOffset, max: QueueOffset) -> (Answer, &'static str, QueueOffset) {
    match max {
        0 => (Answer::OffsetMoved, "NO_MESSAGE_IN_QUEUE", 0),
        _ => (Answer::OffsetMoved, "OFFSET_TOO_SMALL", min),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_rocketmqs() {
        let check = |offset, min, max| unreadable(position(offset, min, max), offset, min, max);
        assert_eq!(check(0, 0, 0), Some((Answer::NotFound, "NO_MESSAGE_IN_QUEUE", 0)));
        assert_eq!(check(7, 0, 0), Some((Answer::OffsetMoved, "NO_MESSAGE_IN_QUEUE", 0)));
        assert_eq!(check(1, 3, 9), Some((Answer::OffsetMoved, "OFFSET_TOO_SMALL", 3)));
        assert_eq!(check(9, 3, 9), Some((Answer::NotFound, "OFFSET_OVERFLOW_ONE", 9)));
        assert_eq!(check(10, 3, 9), Some((Answer::OffsetMoved, "OFFSET_OVERFLOW_BADLY", 9)));
        assert_eq!(check(3, 3, 9), None);
        assert_eq!(negative(0, 0), (Answer::OffsetMoved, "NO_MESSAGE_IN_QUEUE", 0));
        assert_eq!(negative(3, 9), (Answer::OffsetMoved, "OFFSET_TOO_SMALL", 3));
    }
}
