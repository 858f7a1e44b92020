use super::*;

fn due(queue: &mut PopQueue, now: Millis) -> Vec<QueueOffset> {
    let mut due = Vec::new();
    queue.due(now, usize::MAX, &mut due);
    due.into_iter().map(|due| due.offset).collect()
}

#[test]
fn the_commit_never_passes_what_is_not_finished() {
    let mut queue = PopQueue::at(10);
    assert_eq!(queue.begin(), Begin::Read(10));
    assert_eq!(queue.begin(), Begin::Busy(10));
    queue.pop(100, 50, 10..14, 14);
    assert_eq!(queue.begin(), Begin::Read(14));
    queue.skip(20);
    assert_eq!((queue.low(), queue.next(), queue.in_flight()), (10, 20, 4));
    assert!(queue.ack(11, 100) && queue.ack(12, 100));
    assert_eq!(queue.low(), 10);
    assert!(queue.ack(10, 100));
    assert!(!queue.ack(10, 100), "acknowledged twice");
    assert_eq!(queue.low(), 13);
    assert_eq!(queue.deadline(0), Some(150));
    assert!(due(&mut queue, 149).is_empty());
    assert_eq!(due(&mut queue, 150), [13]);
    assert_eq!(queue.low(), 13, "it is not in the retry topic yet");
    assert!(!queue.ack(13, 100));
    queue.revived(13);
    assert_eq!((queue.low(), queue.deadline(0)), (20, None));
}

#[test]
fn a_longer_time_makes_the_old_handle_stale() {
    let mut queue = PopQueue::at(0);
    queue.pop(100, 50, [0], 1);
    assert!(queue.change(120, 0, 100, 1000, false));
    assert!(!queue.change(130, 0, 100, 1000, false));
    assert!(!queue.ack(0, 100));
    assert!(due(&mut queue, 1119).is_empty());
    assert_eq!(due(&mut queue, 1120), [0]);
    queue.postpone(0, 2000);
    assert_eq!(due(&mut queue, 2000), [0]);
}

#[test]
fn a_queue_holds_so_many_and_no_more() {
    let mut queue = PopQueue::at(0);
    let many = FLIGHTS_MAX as u64;
    queue.pop(0, 10, 0..many, many);
    assert_eq!(queue.begin(), Begin::Full(many));
    assert!(queue.ack(5, 0));
    assert_eq!(queue.begin(), Begin::Read(many));
    queue.abandon();
}

#[test]
fn a_reset_forgets_what_was() {
    let mut queue = PopQueue::at(50);
    assert_eq!(queue.begin(), Begin::Read(50));
    queue.reset(10);
    assert_eq!(queue.begin(), Begin::Busy(10));
    assert!(!queue.pop(0, 10, 50..52, 52), "it was read before the offset was set");
    assert_eq!((queue.low(), queue.in_flight(), queue.begin()), (10, 0, Begin::Read(10)));
    assert!(queue.pop(0, 10, 10..12, 12));
    queue.reset(60);
    assert_eq!((queue.low(), queue.in_flight(), queue.begin()), (60, 0, Begin::Read(60)));
    queue.reset(5);
    queue.skip(70);
    assert_eq!(queue.begin_ordered(0, None, 10), Begin::Read(5));
    queue.reset(6);
    assert_eq!(queue.pop_ordered(0, None, 10, vec![5]), None);
    assert_eq!(queue.next(), 6);
}

#[test]
fn order_blocks_until_all_are_acknowledged() {
    let mut queue = PopQueue::at(5);
    assert_eq!(queue.begin_ordered(100, Some("a"), 50), Begin::Read(5));
    let counts = queue.pop_ordered(100, Some("a"), 50, vec![5, 6, 8]).unwrap();
    assert_eq!(counts, Counts::default());
    assert_eq!(queue.begin_ordered(110, Some("b"), 50), Begin::Blocked);
    assert!(queue.is_blocked(110, None) && !queue.is_blocked(110, Some("a")));
    assert_eq!(queue.ack_ordered(110, 6, 100), OrderedAck::Done { unblocked: false });
    assert_eq!(queue.low(), 5);
    assert_eq!(queue.ack_ordered(110, 7, 100), OrderedAck::Illegal);
    assert_eq!(queue.ack_ordered(110, 8, 99), OrderedAck::Ignored);
    assert_eq!(queue.ack_ordered(110, 5, 100), OrderedAck::Done { unblocked: false });
    assert_eq!(queue.low(), 8);
    assert_eq!(queue.ack_ordered(110, 5, 100), OrderedAck::Ignored);
    assert_eq!(queue.ack_ordered(110, 8, 100), OrderedAck::Done { unblocked: true });
    assert_eq!((queue.low(), queue.begin_ordered(110, None, 50)), (9, Begin::Read(9)));
}

#[test]
fn order_gives_out_again_what_was_not_acknowledged() {
    let mut queue = PopQueue::at(0);
    queue.pop_ordered(100, Some("a"), 50, vec![0, 1]);
    assert_eq!(queue.deadline(100), Some(150));
    // The same attempt, for example after a lost reply: not blocked, not counted.
    assert_eq!(queue.begin_ordered(101, Some("a"), 50), Begin::Read(0));
    assert_eq!(queue.pop_ordered(101, Some("a"), 50, vec![0, 1]), Some(Counts::default()));
    assert_eq!(queue.ack_ordered(102, 0, 100), OrderedAck::Ignored, "the handle of the first reply is stale");
    assert_eq!(queue.begin_ordered(150, Some("b"), 50), Begin::Blocked);
    assert_eq!(queue.begin_ordered(151, Some("b"), 50), Begin::Read(0));
    let counts = queue.pop_ordered(151, Some("b"), 50, vec![0, 1, 2]).unwrap();
    assert_eq!((counts.messages.len(), counts.messages[&0], counts.least), (2, 1, 0));
    assert_eq!(queue.begin_ordered(201, Some("c"), 50), Begin::Read(0));
    let counts = queue.pop_ordered(201, Some("c"), 50, vec![0, 1]).unwrap();
    assert_eq!((counts.messages[&0], counts.least), (2, 2));
    assert!(due(&mut queue, 9999).is_empty(), "nothing goes to a retry topic");
}

#[test]
fn order_waits_for_a_changed_time() {
    let mut queue = PopQueue::at(0);
    queue.pop_ordered(100, None, 50, vec![0, 1]);
    assert_eq!(queue.change_ordered(110, 0, 100, 1000), Some(1010));
    assert_eq!(queue.deadline(120), Some(1110));
    assert_eq!(queue.begin_ordered(1109, None, 50), Begin::Blocked);
    assert_eq!(queue.begin_ordered(1110, None, 50), Begin::Read(0));
    queue.abandon();
    queue.ack_ordered(1110, 0, 100);
    assert_eq!(queue.change_ordered(1111, 0, 100, 1000), None, "finished");
}
