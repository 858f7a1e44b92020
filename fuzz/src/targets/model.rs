//! Stored records, property blocks, names and message ids.

use halley_model::{GroupName, RecordBody, RecordView, TopicName, id, light, property, record::Place, tag};

/// A stored record. Whatever parses can be read in full, and encodes to itself where it is in canonical form.
pub fn record(input: &[u8]) {
    let Ok(view) = RecordView::parse(input) else { return };
    for (name, offset) in light::positions(&view) {
        let found = light::position_in(&view, name, light::QUEUE);
        assert!(found.is_some(), "{name} has the record at {offset}");
    }
    let body = RecordBody::of(&view);
    let place = Place {
        queue_offset: view.queue_offset(),
        log_offset: view.log_offset(),
        stored: view.stored(),
        store_host: view.store_host(),
    };
    let _ = tag::code_of(view.properties());
    if body.check().is_ok() {
        let mut again = Vec::new();
        body.encode(&place, &mut again);
        let back = RecordView::parse(&again).expect("what was encoded parses");
        assert_eq!(back.total_len(), again.len());
        assert_eq!(back.topic(), view.topic());
        assert_eq!(back.body(), view.body());
        assert_eq!(back.properties(), view.properties());
        assert_eq!(back.queue_offset(), view.queue_offset());
        assert_eq!(back.log_offset(), view.log_offset());
        assert_eq!(back.born_host(), view.born_host());
        assert_eq!(back.store_host(), view.store_host());
        assert!(back.body_is_intact());
    }
}

/// Records with IPv4 and IPv6 hosts, a short and a long topic, with and without properties.
pub fn record_seeds() -> Vec<Vec<u8>> {
    let four = "127.0.0.1:10911".parse().expect("an address");
    let six = "[::1]:10911".parse().expect("an address");
    let long = "t".repeat(200);
    let cases = [
        ("BUS_orders", four, four, &b"{\"amount\":20}"[..], &b"ce_specversion\x011.0\x02ce_id\x011\x02"[..]),
        ("orders", six, four, b"hello", b"TAGS\x01blue\x02KEYS\x01a b\x02"),
        (&long, six, six, b"", b""),
    ];
    cases
        .iter()
        .map(|(topic, born_host, store_host, body, properties)| {
            let record = RecordBody {
                topic,
                queue: 3,
                flag: 0,
                system_flag: 0,
                born: 1_700_000_000_000,
                born_host: *born_host,
                reconsume_times: 0,
                prepared_offset: 0,
                body,
                properties,
                dispatched: false,
            };
            let place = Place {
                queue_offset: 7,
                log_offset: 4096,
                stored: 1_700_000_000_001,
                store_host: *store_host,
            };
            let mut bytes = Vec::new();
            record.encode(&place, &mut bytes);
            bytes
        })
        .collect()
}

/// A raw property block. Looking a key up agrees with walking over all pairs, and clean pairs can be written again.
pub fn properties(input: &[u8]) {
    let mut again = Vec::new();
    let mut pairs = Vec::new();
    for (key, value) in property::iter(input) {
        pairs.push((key, value));
        // A value may hold the separator of keys; such a pair cannot be written.
        let written = property::push(&mut again, key, value);
        assert_eq!(written, !value.contains('\x01'), "{key:?} {value:?}");
    }
    for (key, value) in &pairs {
        // `get` sees blocks that `iter` skips (a first value that is not UTF-8), so it may also say "none".
        if let Some(found) = property::get(input, key) {
            assert!(pairs.iter().any(|pair| pair == &(*key, found)), "{key:?} is {found:?}, not {value:?}");
        }
    }
    let clean: Vec<_> = pairs.iter().filter(|(_, value)| !value.contains('\x01')).copied().collect();
    assert_eq!(property::iter(&again).collect::<Vec<_>>(), clean);
    let _ = tag::code_of(input);
}

/// Property blocks as Java clients, events and careless clients write them.
pub fn properties_seeds() -> Vec<Vec<u8>> {
    [
        &b"KEYS\x01a b\x02TAGS\x01blue\x02UNIQ_KEY\x017F0000010000\x02WAIT\x01true"[..],
        b"ce_specversion\x011.0\x02ce_id\x0142\x02ce_source\x01/shop/1\x02ce_type\x01com.shop.order.paid\x02",
        b"\x01nokey\x02broken\x02a\x01\x02\x02\x02b\x01c\x01d\x02",
        "caf\u{e9}\x01\u{1f980}\x02".as_bytes(),
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

/// Names and ids as clients send them. What is accepted prints as it was given.
pub fn names(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(topic) = TopicName::new(text) {
        assert_eq!(topic.as_str(), text);
    }
    if let Ok(group) = GroupName::new(text) {
        assert_eq!(group.as_str(), text);
        let _ = TopicName::retry_of(&group);
        let _ = TopicName::dead_letters_of(&group);
    }
    if let Some((host, offset)) = id::parse_offset_id(text) {
        assert_eq!(id::parse_offset_id(&id::offset_id(host, offset)), Some((host, offset)));
    }
    let _ = tag::java_hash(text);
}

/// Topic and group names, message ids.
pub fn names_seeds() -> Vec<Vec<u8>> {
    ["BUS_orders", "%RETRY%group", "%DLQ%billing", "7F00000100002A9F0000000000001234", "a|b-c_d"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}
