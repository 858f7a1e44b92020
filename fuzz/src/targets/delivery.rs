//! Delivery cursors, which lie in the metadata of a group's offset where any client can write.

use halley_delivery::Cursor;

/// A commit: the offset in the first eight bytes, the metadata behind them.
pub fn cursor(input: &[u8]) {
    let Some((offset, metadata)) = input.split_first_chunk::<8>() else { return };
    let Ok(metadata) = std::str::from_utf8(metadata) else { return };
    let offset = u64::from_be_bytes(*offset);
    if let Ok(cursor) = Cursor::decode(offset, metadata) {
        assert_eq!(cursor.low(), offset, "a cursor begins where the group's offset says");
        assert!(cursor.open.keys().all(|open| *open < cursor.next));
    }
}

/// No metadata, an empty open set, and events in every state.
pub fn cursor_seeds() -> Vec<Vec<u8>> {
    let commit = |offset: u64, metadata: &str| [&offset.to_be_bytes()[..], metadata.as_bytes()].concat();
    vec![
        commit(17, ""),
        commit(120, r#"{"v":1,"next":120,"at":1700000000000,"errors":[],"open":[]}"#),
        commit(
            100,
            r#"{"v":1,"next":120,"at":1700000000000,"errors":["HTTP 503","no answer"],"open":[[100,3,500,9000,1,2,7,0],[5],[1,1,0,10,1,1,0,2]]}"#,
        ),
    ]
}
