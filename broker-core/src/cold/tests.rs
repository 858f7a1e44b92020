use super::*;
use halley_store::{Durability, Options, disk::SimDisk};
use std::sync::mpsc;

const WAIT: Duration = Duration::from_secs(10);

/// One thread, of a log that does not grow.
fn one_thread() -> ColdReads {
    let options = Options::new(Durability::Os, "127.0.0.1:10911".parse().unwrap());
    let opened = halley_store::open(Arc::new(SimDisk::new(1)), options, 0).unwrap();
    ColdReads::start_threads(opened.log, Some(1), 1).unwrap()
}

/// Keeps the thread busy until the sender is dropped.
fn occupy(reads: &ColdReads) -> mpsc::Sender<()> {
    let (held, wait) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let busy = move |_: &mut Ticket| {
        begun.send(()).unwrap();
        assert!(wait.recv().is_err());
    };
    reads.read(&Arc::default(), busy).unwrap();
    has_begun.recv_timeout(WAIT).unwrap();
    held
}

#[test]
fn connections_take_turns() {
    let reads = one_thread();
    let busy = occupy(&reads);
    let (done, order) = mpsc::channel();
    let (one, other) = (Arc::new(Lane::default()), Arc::new(Lane::default()));
    for (lane, name) in [(&one, "a1"), (&one, "a2"), (&one, "a3"), (&other, "b1"), (&other, "b2")] {
        let done = done.clone();
        reads.read(lane, move |_| done.send(name).unwrap()).unwrap();
    }
    assert_eq!(reads.waiting(), 5);
    drop((busy, done));
    assert_eq!(order.iter().collect::<Vec<_>>(), ["a1", "b1", "a2", "b2", "a3"]);
    assert_eq!(reads.waiting(), 0);
}

#[test]
fn nothing_is_read_for_one_who_does_not_take_it() {
    let reads = one_thread();
    let (lane, (done, results)) = (Arc::new(Lane::default()), mpsc::channel());
    for _ in 0..3 {
        let done = done.clone();
        let read = move |ticket: &mut Ticket| {
            done.send(ticket.hold(vec![5; UNTAKEN_BYTES_MAX / 2 + 1].into())).unwrap();
        };
        reads.read(&lane, read).unwrap();
    }
    let first = results.recv_timeout(WAIT).unwrap();
    let second = results.recv_timeout(WAIT).unwrap();
    // Others are read for meanwhile.
    let (seen, others) = mpsc::channel();
    reads.read(&Arc::default(), move |_| seen.send(()).unwrap()).unwrap();
    others.recv_timeout(WAIT).unwrap();
    assert!(results.try_recv().is_err(), "more than a MiB waits for the connection");
    assert_eq!(reads.waiting(), 1);
    let copy = first.slice(1..);
    drop(first);
    assert!(results.try_recv().is_err() && reads.waiting() == 1, "a part of it is still held");
    drop(copy);
    results.recv_timeout(WAIT).unwrap();
    drop(second);
    assert_eq!(lane.untaken.load(Ordering::Relaxed), 0);
}

#[test]
fn a_closed_connection_is_read_for_no_more() {
    let reads = one_thread();
    let busy = occupy(&reads);
    let lane = Arc::new(Lane::default());
    let (done, results) = mpsc::channel::<()>();
    let keep = done.clone();
    reads.read(&lane, move |_| done.send(()).unwrap()).unwrap();
    reads.close(&lane);
    assert_eq!(reads.waiting(), 0);
    assert_eq!(reads.read(&lane, move |_| keep.send(()).unwrap()), Ok(()));
    assert!(results.recv_timeout(WAIT).is_err_and(|error| error == mpsc::RecvTimeoutError::Disconnected));
    drop(busy);
}

#[test]
fn too_many_reads_are_refused() {
    let reads = one_thread();
    let busy = occupy(&reads);
    let lane = Arc::new(Lane::default());
    for _ in 0..WAITING_PER_LANE_MAX {
        reads.read(&lane, |_| {}).unwrap();
    }
    assert_eq!(reads.read(&lane, |_| {}), Err(Busy));
    assert_eq!(reads.read(&Arc::default(), |_| {}), Ok(()), "others may still");
    for _ in 1..WAITING_MAX / WAITING_PER_LANE_MAX {
        let lane = Arc::new(Lane::default());
        (0..WAITING_PER_LANE_MAX).for_each(|_| _ = reads.read(&lane, |_| {}));
    }
    assert_eq!((reads.waiting(), reads.read(&Arc::default(), |_| {})), (WAITING_MAX, Err(Busy)));
    reads.close(&lane);
    drop(busy);
}
