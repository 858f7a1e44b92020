use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[test]
fn a_message_in_flight_has_at_most_32_bytes() {
    assert_eq!(size_of::<Entry>(), 24);
    // One by one, as singly popped messages come.
    let mut flights = Flights::default();
    for offset in 0..100_000 {
        flights.push(Flight::new(offset * 3, 1_700_000_000_000, 1_700_000_060_000));
        if offset > 1000 {
            assert!(flights.bytes() <= 32 * flights.len(), "{} bytes for {}", flights.bytes(), flights.len());
        }
    }
    assert!(flights.bytes() <= 28 * flights.len(), "{} bytes for {}", flights.bytes(), flights.len());
    for offset in 0..100_000 {
        assert!(flights.remove(offset * 3, 1_700_000_000_000));
    }
    assert_eq!((flights.len(), flights.chunks.capacity()), (0, 0));
}

#[test]
fn only_the_right_handle_removes() {
    let mut flights = Flights::default();
    flights.push(Flight::new(5, 100, 200));
    assert!(!flights.remove(5, 99));
    assert!(!flights.remove(4, 100));
    assert!(flights.replace(100, Flight { suspended: true, ..Flight::new(5, 150, 300) }));
    assert!(!flights.remove(5, 100), "the handle is stale");
    assert!(!flights.remove_taken(5), "nobody took it");
    let mut due = Vec::new();
    flights.take_due(299, 9, |flight| due.push(flight));
    assert!(due.is_empty());
    flights.take_due(300, 9, |flight| due.push(flight));
    assert_eq!(due, [Flight { suspended: true, ..Flight::new(5, 150, 300) }]);
    assert!(!flights.remove(5, 150), "it is on its way to the retry topic");
    assert!(!flights.replace(150, Flight::new(5, 400, 500)));
    assert_eq!(flights.earliest(), None);
    flights.give_back(5, 350);
    assert_eq!(flights.earliest(), Some(350));
    flights.take_due(350, 9, |_| {});
    assert!(flights.remove_taken(5));
    assert!(flights.is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Push(u64, i64),
    Remove(usize, bool),
    Change(usize, i64),
    Due(usize),
    Done(usize),
    Back(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..4_u64, 1..200_i64).prop_map(|(gap, time)| Step::Push(gap, time)),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(at, stale)| Step::Remove(at, stale)),
        1 => (any::<usize>(), 1..200_i64).prop_map(|(at, time)| Step::Change(at, time)),
        1 => (1..100_usize).prop_map(Step::Due),
        1 => any::<usize>().prop_map(Step::Done),
        1 => any::<usize>().prop_map(Step::Back),
    ]
}

proptest! {
    #[test]
    fn they_are_like_a_map(steps in proptest::collection::vec(step(), 0..150)) {
        // Offset → pop time, time of visibility, taken.
        let mut model: BTreeMap<u64, (i64, i64, bool)> = BTreeMap::new();
        let mut flights = Flights::default();
        let mut next = 0;
        for (now, step) in (0_i64..).zip(steps) {
            let pick = |at: usize, model: &BTreeMap<u64, (i64, i64, bool)>| {
                model.keys().nth(at % model.len().max(1)).copied().unwrap_or(0)
            };
            match step {
                Step::Push(gap, time) => {
                    // Bursts fill chunks.
                    for _ in 0..16 {
                        next += gap;
                        flights.push(Flight::new(next, now, now + time));
                        model.insert(next, (now, now + time, false));
                    }
                }
                Step::Remove(at, stale) => {
                    let offset = pick(at, &model);
                    let (popped, _, taken) = model.get(&offset).copied().unwrap_or((0, 0, true));
                    let removed = flights.remove(offset, popped + i64::from(stale));
                    prop_assert_eq!(removed, !taken && !stale);
                    if removed {
                        model.remove(&offset);
                    }
                }
                Step::Change(at, time) => {
                    let offset = pick(at, &model);
                    let (popped, _, taken) = model.get(&offset).copied().unwrap_or((0, 0, true));
                    let changed = flights.replace(popped, Flight::new(offset, now, now + time));
                    prop_assert_eq!(changed, !taken);
                    if changed {
                        model.insert(offset, (now, now + time, false));
                    }
                }
                Step::Due(max) => {
                    let mut due = Vec::new();
                    flights.take_due(now, max, |flight| due.push(flight.offset));
                    let ready: Vec<_> = model.iter().filter(|(_, (_, visible, taken))| !taken && *visible <= now).map(|(offset, _)| *offset).collect();
                    prop_assert_eq!(due.len(), ready.len().min(max));
                    for offset in due {
                        prop_assert!(ready.contains(&offset));
                        model.get_mut(&offset).unwrap().2 = true;
                    }
                }
                Step::Done(at) => {
                    let offset = pick(at, &model);
                    let taken = model.get(&offset).is_some_and(|entry| entry.2);
                    prop_assert_eq!(flights.remove_taken(offset), taken);
                    if taken {
                        model.remove(&offset);
                    }
                }
                Step::Back(at) => {
                    let offset = pick(at, &model);
                    flights.give_back(offset, now + 7);
                    if let Some(entry) = model.get_mut(&offset).filter(|entry| entry.2) {
                        *entry = (entry.0, now + 7, false);
                    }
                }
            }
            prop_assert_eq!(flights.len(), model.len());
            prop_assert_eq!(flights.first(), model.keys().next().copied());
            let first_due = model.values().filter(|entry| !entry.2).map(|entry| entry.1).min();
            prop_assert!(flights.earliest().unwrap_or(i64::MAX) <= first_due.unwrap_or(i64::MAX));
        }
        let seen: Vec<_> = flights.iter().map(|flight| (flight.offset, flight.popped, flight.visible)).collect();
            let expected: Vec<_> = model.iter().map(|(offset, (popped, visible, taken))| (*offset, *popped, if *taken { i64::MIN } else { *visible })).collect();
            prop_assert_eq!(seen, expected);
    }
}
