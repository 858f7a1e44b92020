//! What the broker reads back of its own state.

use halley_machine::{offsets::Offsets, state::StateRecord, topics::Topics};

/// A state record. Folding it twice is folding it once, and what was folded is written and read back the same.
pub fn broker_state(input: &[u8]) {
    let Ok(record) = StateRecord::decode(input) else { return };
    let (mut topics, mut offsets) = (Topics::default(), Offsets::default());
    record.clone().fold(&mut topics, &mut offsets);
    let once = StateRecord::everything(&topics, &offsets);
    record.fold(&mut topics, &mut offsets);
    assert_eq!(StateRecord::everything(&topics, &offsets), once);
    assert_eq!(StateRecord::decode(&once.encode()).expect("what was encoded is read"), once);
}

/// State of topics, of offsets, and with keys of later versions.
pub fn broker_state_seeds() -> Vec<Vec<u8>> {
    let mut topics = Topics::default();
    let created = topics.create_on_send("orders", "TBW102", 4).expect("a free name");
    vec![
        StateRecord::topic(&created).encode(),
        br#"{"offsets":[{"group":"g","topic":"orders","queue":3,"offset":17,"metadata":"{\"v\":1}"}]}"#.to_vec(),
        br#"{"later":[1,{"a":null}],"topics":[],"offsets":[{"group":"a/b","topic":"t","queue":0,"offset":0}]}"#
            .to_vec(),
    ]
}
