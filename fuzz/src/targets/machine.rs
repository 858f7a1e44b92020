//! What the broker reads back of its own state.

use halley_machine::{
    state::{StateRecord, Tables},
    topics::Topics,
};

/// A state record. Folding it twice is folding it once, and what was folded is written and read back the same.
pub fn broker_state(input: &[u8]) {
    let Ok(record) = StateRecord::decode(input) else { return };
    let mut tables = Tables::default();
    record.clone().fold(&mut tables);
    let once = everything(&tables);
    record.fold(&mut tables);
    assert_eq!(everything(&tables), once);
    assert_eq!(StateRecord::decode(&once.encode()).expect("what was encoded is read"), once);
}

fn everything(tables: &Tables) -> StateRecord {
    StateRecord::everything(&tables.topics, &tables.groups, &tables.offsets)
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
