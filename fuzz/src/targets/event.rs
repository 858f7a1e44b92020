//! CloudEvents over HTTP: what a stranger can post to the ingress.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use halley_event::{BATCH, EventView, ParsedEvent, STRUCTURED, attribute, encode, parse};
use halley_model::{
    RecordBody, RecordView, property,
    record::{Place, flag},
};
use std::{collections::BTreeMap, net::SocketAddr};

/// A request: lines `name: value`, an empty line, the body.
pub fn cloudevent_http(input: &[u8]) {
    let (content_type, headers, body) = split(input);
    let headers = headers.iter().map(|(name, value)| (name.as_str(), *value));
    if let Ok(events) = parse::request(content_type.as_deref(), headers, Bytes::copy_from_slice(body)) {
        events.iter().for_each(comes_back);
    }
}

/// The JSON of one event and of a batch.
pub fn cloudevent_json(input: &[u8]) {
    for form in [STRUCTURED, BATCH] {
        let parsed = parse::request(Some(form), std::iter::empty(), Bytes::copy_from_slice(input));
        if let Ok(events) = parsed {
            events.iter().for_each(comes_back);
        }
    }
}

/// A parsed event is stored, read, written in both forms, and parsed again: it is the same event.
fn comes_back(event: &ParsedEvent) {
    let address: SocketAddr = "127.0.0.1:10911".parse().expect("an address");
    let body = RecordBody {
        topic: "BUS_default",
        queue: 0,
        flag: 0,
        system_flag: 0,
        born: 0,
        born_host: address,
        reconsume_times: 0,
        prepared_offset: 0,
        body: &event.data,
        properties: &event.properties,
        dispatched: false,
    };
    body.check().expect("an accepted event can be stored");
    let mut record = Vec::new();
    body.encode(&Place { queue_offset: 0, log_offset: 0, stored: 0, store_host: address }, &mut record);
    let view = EventView::new(RecordView::parse(&record).expect("it was encoded"), "cluster");
    assert!(view.is_event());

    let binary = encode::binary(&view);
    let headers = binary.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let again = parse::request(binary.content_type.as_deref(), headers, event.data.clone());
    let content_type = attributes(event).get("datacontenttype").cloned().unwrap_or_default();
    if content_type.to_ascii_lowercase().starts_with("application/cloudevents") {
        // An event in an event: in binary mode its content type says something else.
        return;
    }
    same(event, &again.expect("what was written is an event"));

    let json = encode::structured(&view).expect("it is not compressed");
    let again = parse::request(Some(STRUCTURED), std::iter::empty(), Bytes::from(json));
    same(event, &again.expect("what was written is an event"));
}

fn same(event: &ParsedEvent, again: &[ParsedEvent]) {
    let [again] = again else { panic!("{} events came of one", again.len()) };
    let (before, mut after) = (attributes(event), attributes(again));
    if !before.contains_key("datacontenttype") {
        // The JSON format says that data without a type is JSON.
        after.remove("datacontenttype");
    }
    let mut data = again.data.to_vec();
    let encoding = before.get("datacontentencoding");
    if after.get("datacontentencoding") != encoding || (data != event.data && encoding.is_some()) {
        // Version 0.3 has no other way to put bytes into JSON, also where they only pretended to be encoded.
        assert_eq!(after.remove("datacontentencoding").as_deref(), Some("base64"));
        after.extend(encoding.map(|encoding| ("datacontentencoding".to_owned(), encoding.clone())));
        data = STANDARD.decode(&data).expect("it was encoded");
    }
    assert_eq!(after, before);
    assert_eq!(data, event.data);
}

fn attributes(event: &ParsedEvent) -> BTreeMap<String, String> {
    property::iter(&event.properties)
        .map(|(key, value)| {
            (key.strip_prefix(property::EVENT_PREFIX).expect("attributes alone").to_owned(), value.to_owned())
        })
        .collect()
}

type Headers<'a> = Vec<(String, &'a [u8])>;

fn split(input: &[u8]) -> (Option<String>, Headers<'_>, &[u8]) {
    let (mut content_type, mut headers, mut rest) = (None, Vec::new(), input);
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
        let value = line[colon + 1..].trim_ascii();
        if name == "content-type" {
            content_type = std::str::from_utf8(value).ok().map(str::to_owned);
        } else {
            headers.push((name, value));
        }
    }
    (content_type, headers, rest)
}

/// A stored record, whoever wrote it: seen as an event it can be asked for anything, and leaves as proper headers and
/// proper JSON. Attributes that RocketMQ clients wrote are not checked, so it need not be an event that Halley would take.
pub fn stored_event(input: &[u8]) {
    let Ok(record) = RecordView::parse(input) else { return };
    let view = EventView::new(record, "cluster");
    for (name, value) in view.attributes() {
        assert_eq!(view.attribute(name), Some(value), "{name}");
    }
    let _ = (view.property("TAGS"), view.tag(), view.data());
    let binary = encode::binary(&view);
    let values = binary.headers.iter().map(|(_, value)| value).chain(&binary.content_type);
    assert!(values.clone().all(|value| value.bytes().all(|byte| (b' '..=b'~').contains(&byte))));
    assert!(binary.headers.iter().all(|(name, _)| name.strip_prefix("ce-").is_some_and(attribute::is_name)));
    if let Ok(json) = encode::structured(&view) {
        let json: serde_json::Value = serde_json::from_slice(&json).expect("what leaves is JSON");
        let members = json.as_object().expect("an event is an object");
        assert!(attribute::REQUIRED.iter().all(|name| members.contains_key(*name)));
    }
}

/// An event, a message, one with a compressed body, and an event that lacks what it should have.
pub fn stored_event_seeds() -> Vec<Vec<u8>> {
    // `hello hello hello hello` as zlib has it.
    let compressed =
        [0x78, 0x9C, 0xCB, 0x48, 0xCD, 0xC9, 0xC9, 0x57, 0xC8, 0x40, 0x27, 0x01, 0x68, 0x03, 0x08, 0xB1];
    let address: SocketAddr = "127.0.0.1:10911".parse().expect("an address");
    let cases: [(i32, &[u8], &[u8]); 4] = [
        (0, b"{\"a\":1}", b"ce_specversion\x011.0\x02ce_id\x011\x02ce_source\x01/s\x02ce_type\x01t\x02ce_datacontenttype\x01application/json\x02"),
        (0, b"hello", b"TAGS\x01blue\x02KEYS\x01a b\x02UNIQ_KEY\x017F0000010000\x02contentType\x01text/plain\x02"),
        (flag::COMPRESSED, &compressed, b"UNIQ_KEY\x017F0000010001\x02"),
        (0, b"\xFF", b"ce_specversion\x010.3\x02ce_Id\x01x\x02ce_source\x01\x02ce_datacontentencoding\x01base64\x02"),
    ];
    let encode = |(system_flag, body, properties): &(i32, &[u8], &[u8])| {
        let record = RecordBody {
            topic: "orders",
            queue: 1,
            flag: 0,
            system_flag: *system_flag,
            born: 0,
            born_host: address,
            reconsume_times: 0,
            prepared_offset: 0,
            body,
            properties,
            dispatched: false,
        };
        let mut bytes = Vec::new();
        record.encode(&Place { queue_offset: 7, log_offset: 56, stored: 1, store_host: address }, &mut bytes);
        bytes
    };
    cases.iter().map(encode).collect()
}

/// Binary, structured and batched requests of both versions.
pub fn cloudevent_http_seeds() -> Vec<Vec<u8>> {
    let json = cloudevent_json_seeds();
    let form = |kind: &str, body: &[u8]| [b"content-type: ", kind.as_bytes(), b"\n\n", body].concat();
    vec![
        b"ce-specversion: 1.0\nce-id: 1\nce-source: /me\nce-type: hello\nce-time: 2026-01-02T03:04:05.678Z\ncontent-type: text/plain\n\nHello".to_vec(),
        b"ce-specversion: 0.3\nce-id: 1\nce-source: /me\nce-type: hello\nce-schemaurl: /s\nce-datacontentencoding: base64\n\naGk=".to_vec(),
        "ce-specversion: 1.0\nce-id: \"a%20b\\\"\"\nce-source: /caf%C3%A9\nce-type: \u{e9}%F0%9F%A6%80\nce-ext1: 50%\n\n"
            .as_bytes()
            .to_vec(),
        form("application/cloudevents+json; charset=UTF-8", &json[0]),
        form("application/cloudevents-batch+json", &json[3]),
        form("application/cloudevents+avro", b"x"),
    ]
}

/// Data as JSON, text, base64 and nothing; extensions of every type; a batch.
pub fn cloudevent_json_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"specversion":"1.0","id":"1","source":"/shop/1","type":"com.shop.order.paid","subject":"gold","time":"2026-01-02T03:04:05+01:00","amount":20,"vip":true,"data":{"a":[1,2.50,"x"],"b":null}}"#,
        r#"{"specversion":"1.0","id":"2","source":"/s","type":"t","datacontenttype":"text/plain","data":"caf\u00e9 \ud83e\udd80\n"}"#,
        r#"{"specversion":"1.0","id":"3","source":"/s","type":"t","datacontenttype":"application/octet-stream","data_base64":"AAEC/w=="}"#,
        r#"[{"specversion":"1.0","id":"4","source":"/s","type":"t"},{"specversion":"0.3","id":"5","source":"/s","type":"t","schemaurl":"/x","datacontentencoding":"base64","data":"aGk="}]"#,
        r#"{"specversion":"1.0","id":"6","source":"/s","type":"t","dataschema":"http://x/y","data":"text","ext":-2147483648}"#,
        "[]",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
