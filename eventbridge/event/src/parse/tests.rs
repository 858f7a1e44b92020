use super::*;
use crate::{EventView, encode, is_json};
use base64::{Engine, engine::general_purpose::STANDARD};
use halley_model::{RecordBody, RecordView, record::Place};
use proptest::prelude::*;

const MINIMAL: [(&str, &str); 4] =
    [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];

fn binary_request(
    extra: &[(&str, &str)],
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Vec<ParsedEvent>, ParseError> {
    let headers: Vec<_> =
        MINIMAL.iter().chain(extra).map(|(name, value)| (*name, value.as_bytes())).collect();
    request(content_type, headers.into_iter(), Bytes::copy_from_slice(body))
}

fn structured(body: &str) -> Result<Vec<ParsedEvent>, ParseError> {
    request(Some("application/cloudevents+json; charset=utf-8"), std::iter::empty(), body.to_owned().into())
}

fn batch(body: &str) -> Result<Vec<ParsedEvent>, ParseError> {
    request(Some(BATCH), std::iter::empty(), body.to_owned().into())
}

fn attributes(event: &ParsedEvent) -> Vec<(&str, &str)> {
    property::iter(&event.properties).map(|(key, value)| (key.strip_prefix("ce_").unwrap(), value)).collect()
}

fn sorted(event: &ParsedEvent) -> Vec<(&str, &str)> {
    let mut all = attributes(event);
    all.sort_unstable();
    all
}

fn stored(event: &ParsedEvent) -> Vec<u8> {
    let host = "127.0.0.1:10911".parse().unwrap();
    let record = RecordBody {
        topic: "T",
        queue: 2,
        flag: 0,
        system_flag: 0,
        born: 0,
        born_host: host,
        reconsume_times: 0,
        prepared_offset: 0,
        body: &event.data,
        properties: &event.properties,
        dispatched: false,
    };
    let mut out = Vec::new();
    record.encode(
        &Place { queue_offset: 5, log_offset: 64, stored: 1_700_000_000_000, store_host: host },
        &mut out,
    );
    out
}

fn out_and_in(event: &ParsedEvent) -> [ParsedEvent; 2] {
    let record = stored(event);
    let view = EventView::new(RecordView::parse(&record).unwrap(), "c");
    let binary = encode::binary(&view);
    let headers: Vec<_> =
        binary.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let data = Bytes::copy_from_slice(&view.data().unwrap());
    let one = request(binary.content_type.as_deref(), headers.into_iter(), data).unwrap().remove(0);
    let json = String::from_utf8(encode::structured(&view).unwrap()).unwrap();
    let two = structured(&json).unwrap_or_else(|error| panic!("{json}: {error}")).remove(0);
    [one, two]
}

#[test]
fn binary_mode_takes_headers_as_they_are() {
    let extra = [("ce-subject", "a%20b%E2%82%AC"), ("ce-myext", "\"quoted \\\" text\""), ("x-other", "no")];
    let event = binary_request(&extra, Some("text/plain; charset=utf-8"), b"hello").unwrap().remove(0);
    assert_eq!(event.data, "hello");
    let expected = [
        ("specversion", "1.0"),
        ("id", "1"),
        ("source", "/s"),
        ("type", "t"),
        ("subject", "a b€"),
        ("myext", "quoted \" text"),
        ("datacontenttype", "text/plain; charset=utf-8"),
    ];
    assert_eq!(attributes(&event), expected);
    assert!(binary_request(&[], None, b"").unwrap()[0].data.is_empty());
}

#[test]
fn structured_mode_keeps_data_byte_by_byte() {
    let body = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","flag":true,"count":-7,"gone":null,"data": {"a" : [1, 2.50]} }"#;
    let event = structured(body).unwrap().remove(0);
    assert_eq!(event.data, r#"{"a" : [1, 2.50]}"#);
    assert_eq!(attribute::property_of(&event.properties, "datacontenttype"), Some("application/json"));
    assert_eq!(attribute::property_of(&event.properties, "flag"), Some("true"));
    assert_eq!(attribute::property_of(&event.properties, "count"), Some("-7"));
    assert_eq!(attribute::property_of(&event.properties, "gone"), None);

    let head = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t""#;
    let data = |rest: &str| structured(&format!("{head},{rest}}}")).unwrap().remove(0).data;
    assert_eq!(data(r#""datacontenttype":"text/xml","data":"<a>\n</a>""#), "<a>\n</a>");
    assert_eq!(data(r#""datacontenttype":"application/json","data":"text""#), "\"text\"");
    assert_eq!(data(r#""data_base64":"AAH/""#), Bytes::from_static(&[0, 1, 255]));
    assert_eq!(data(r#""data":null"#), "");
}

#[test]
fn batches_are_lists_of_events() {
    let one = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
    assert_eq!(batch(&format!("[{one}, {one}]")).unwrap().len(), 2);
    assert!(batch("[]").unwrap().is_empty());
    let error = batch(&format!("[{one}, {{\"specversion\":\"1.0\"}}]")).unwrap_err();
    assert_eq!(error.to_string(), "event 1 of the batch: the attribute id is missing");
    assert!(matches!(batch("{}"), Err(ParseError::Json(_))));
    let many = vec![one; crate::BATCH_EVENTS_MAX + 1].join(",");
    assert_eq!(batch(&format!("[{many}]")), Err(ParseError::BatchTooLong));
}

#[test]
fn errors_name_the_attribute() {
    let named = |result: Result<Vec<ParsedEvent>, ParseError>, name: &str| {
        let error = result.expect_err(name);
        assert_eq!(error.attribute_name(), Some(name), "{error}");
    };
    named(binary_request(&[("ce-my_ext", "1")], None, b""), "my_ext");
    named(binary_request(&[("ce-id", "2")], None, b""), "id");
    named(binary_request(&[("ce-time", "yesterday")], None, b""), "time");
    named(binary_request(&[("ce-x", "a%01b")], None, b""), "x");
    named(binary_request(&[("ce-x", "%ff")], None, b""), "x");
    named(binary_request(&[("ce-datacontenttype", "a/b")], None, b""), "datacontenttype");
    named(structured(r#"{"specversion":"2.0","id":"1","source":"/s","type":"t"}"#), "specversion");
    named(structured(r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#), "id");
    named(structured(r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","x":1.5}"#), "x");
    named(structured(r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","x":{}}"#), "x");
    named(structured(r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","X":"1"}"#), "X");
    let headers = [("ce-id", &b"1"[..])];
    named(request(Some("text/plain"), headers.into_iter(), Bytes::new()), "specversion");
    let large = "x".repeat(40_000);
    assert!(matches!(binary_request(&[("ce-x", &large)], None, b""), Err(ParseError::TooManyAttributes(_))));
}

#[test]
fn what_is_no_text_is_refused_and_not_dropped() {
    let head = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t""#;
    let refused = |rest: &str, name: &str| {
        let error = structured(&format!("{head},{rest}}}")).expect_err(rest);
        assert_eq!(error.attribute_name(), Some(name), "{rest}: {error}");
    };
    refused(r#""x":"\ud800""#, "x");
    refused(r#""datacontenttype":"text/plain","data":"\ud800""#, "data");
    refused(r#""data_base64":"\ud800""#, "data_base64");
    refused("\"x\":\"\u{FFFE}\"", "x");
    refused("\"x\":\"\u{85}\"", "x");
    refused(r#""data":1,"data":2"#, "data");
    refused(r#""x":1,"x":2"#, "x");
    refused(r#""subject":"""#, "subject");
    refused(r#""datacontenttype":"text/ü","data":"1""#, "datacontenttype");
    // Inside JSON data such an escape is the sender's affair: it is passed on as it came.
    let kept = structured(&format!(r#"{head},"data":{{"a":"\ud800"}}}}"#)).unwrap().remove(0);
    assert_eq!(kept.data, r#"{"a":"\ud800"}"#);
}

#[test]
fn data_is_no_attribute() {
    let error = binary_request(&[("ce-data", "1")], None, b"").unwrap_err();
    assert_eq!(error.attribute_name(), Some("data"), "{error}");
}

#[test]
fn attributes_are_bounded_one_by_one() {
    let with = |extensions: usize| {
        let more: String = (0..extensions).map(|index| format!(",\"x{index}\":\"\"")).collect();
        structured(&format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{more}}}"#))
    };
    assert!(with(attribute::ATTRIBUTES_MAX - 4).is_ok());
    let error = with(attribute::ATTRIBUTES_MAX - 3).unwrap_err();
    assert_eq!(error.attribute_name(), Some("x96"), "{error}");
    // The first one too many ends it, so that the rest of a long body costs nothing.
    assert_eq!(with(100_000), Err(error));
    let name = "n".repeat(100_000);
    let error = structured(&format!(r#"{{"{name}":"1"}}"#)).unwrap_err();
    assert!(error.to_string().len() < 400, "a long name is cut in the answer");
}

#[test]
fn json_is_utf_8() {
    let body = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
    let with = |kind: &str| request(Some(kind), std::iter::empty(), body.into());
    for kind in ["Application/CloudEvents+JSON", "application/cloudevents+json ; charset=\"UTF-8\"; a=b"] {
        assert!(with(kind).is_ok(), "{kind}");
    }
    let error = with("application/cloudevents+json; charset=iso-8859-1").unwrap_err();
    assert!(matches!(error, ParseError::ContentType(_)), "{error}");
}

#[test]
fn an_extension_named_like_an_old_attribute_means_nothing() {
    let body = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontentencoding":"base64","datacontenttype":"application/json","data":"YQ=="}"#;
    let event = structured(body).unwrap().remove(0);
    assert_eq!(event.data, "\"YQ==\"");
    for back in out_and_in(&event) {
        assert_eq!((sorted(&back), &back.data), (sorted(&event), &event.data));
    }
}

#[test]
fn what_clients_store_as_events_leaves_as_valid_events() {
    let properties = [
        ("ce_specversion", "1.0"),
        ("ce_type", "a"),
        ("ce_type", "b"),
        ("ce_source", ""),
        ("ce_source", "/late"),
        ("ce_my-ext", "1"),
        ("ce_data", "1"),
        ("ce_", "1"),
        ("ce_X", "1"),
        ("ce_datacontenttype", "application/json"),
        ("UNIQ_KEY", "K1"),
        ("TAGS", "secret"),
    ];
    let mut raw = Vec::new();
    for (key, value) in properties {
        assert!(property::push(&mut raw, key, value));
    }
    // JSON by its name, but no UTF-8: it must not stand in JSON as it is.
    let record = stored(&ParsedEvent { properties: raw, data: Bytes::from_static(b"\"\xff\"") });
    let view = EventView::new(RecordView::parse(&record).unwrap(), "c");
    let expected = [
        ("specversion", "1.0"),
        ("type", "a"),
        ("source", "/rocketmq/c/T"),
        ("datacontenttype", "application/json"),
        ("id", "K1"),
    ];
    let all = view.attributes();
    assert_eq!(all.iter().map(|(name, value)| (*name, &**value)).collect::<Vec<_>>(), expected);
    for (name, value) in expected {
        assert_eq!(view.attribute(name).as_deref(), Some(value));
    }
    let json = String::from_utf8(encode::structured(&view).unwrap()).unwrap();
    let event = structured(&json).unwrap().remove(0);
    assert_eq!(event.data, Bytes::from_static(b"\"\xff\""));
    assert!(!json.contains("secret"));
}

#[test]
fn other_content_is_refused() {
    let none = || std::iter::empty();
    for content_type in [Some("application/cloudevents+xml"), Some("application/json"), None] {
        let error = request(content_type, none(), Bytes::from_static(b"{}")).unwrap_err();
        assert!(matches!(error, ParseError::ContentType(_)), "{error}");
    }
    assert!(matches!(structured("{"), Err(ParseError::Json(_))));
    let twice = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data_base64":"AA=="}"#;
    assert!(structured(twice).is_err());
}

#[test]
fn version_0_3_stays_itself() {
    let body = r#"{"specversion":"0.3","id":"1","source":"/s","type":"t","schemaurl":"http://x","datacontenttype":"application/octet-stream","datacontentencoding":"base64","data":"AAE="}"#;
    let event = structured(body).unwrap().remove(0);
    assert_eq!(event.data, "AAE=");
    for back in out_and_in(&event) {
        assert_eq!(sorted(&back), sorted(&event));
        assert_eq!(back.data, event.data);
    }
}

#[test]
fn messages_are_seen_as_events() {
    let event = ParsedEvent {
        properties: b"UNIQ_KEY\x01K1\x02TAGS\x01a\x02color\x01red\x02".to_vec(),
        data: "hi".into(),
    };
    let record = stored(&event);
    let view = EventView::new(RecordView::parse(&record).unwrap(), "c1");
    assert!(!view.is_event());
    let of = |name| view.attribute(name).unwrap().into_owned();
    assert_eq!(
        (of("id"), of("source"), of("rocketmqtag")),
        ("K1".into(), "/rocketmq/c1/T".into(), "a".into())
    );
    assert_eq!((of("time"), of("rocketmqoffset")), ("2023-11-14T22:13:20.000Z".into(), "5".into()));
    assert_eq!(view.property("color"), Some("red"));
    assert_eq!(view.attribute("color"), None);
    let json: serde_json::Value = serde_json::from_slice(&encode::structured(&view).unwrap()).unwrap();
    assert_eq!(json["data_base64"], "aGk=");
    assert_eq!(json["type"], crate::view::MESSAGE_TYPE);
}

#[test]
fn compressed_messages_show_what_was_sent() {
    use flate2::{Compression, read::ZlibEncoder};
    use std::io::{Read, Write};
    let zlib = |plain: &[u8]| {
        let mut body = Vec::new();
        ZlibEncoder::new(plain, Compression::default()).read_to_end(&mut body).unwrap();
        body
    };
    let body = zlib(b"hello hello hello");
    let seen = |flags: i32, body: &[u8]| {
        let mut record = stored(&ParsedEvent { properties: Vec::new(), data: Bytes::copy_from_slice(body) });
        record[36..40].copy_from_slice(&flags.to_be_bytes());
        EventView::new(RecordView::parse(&record).unwrap(), "c").data().map(|data| data.into_owned())
    };
    let frame = |plain: &[u8]| {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    let zstandard =
        |plain: &[u8]| ruzstd::encoding::compress_to_vec(plain, ruzstd::encoding::CompressionLevel::Fastest);
    let hello = b"hello hello hello";
    let compressed = [(1, body), (0x301, zlib(hello)), (0x101, frame(hello)), (0x201, zstandard(hello))];
    for (flags, body) in &compressed {
        assert_eq!(seen(*flags, body).as_deref(), Ok(&hello[..]), "{flags:x}");
        assert_eq!(seen(*flags, b"plain"), Err(crate::DataError::Damaged));
        assert_eq!(seen(*flags, &body[..body.len() / 2]), Err(crate::DataError::Damaged));
        assert!(matches!(seen(0x401, body), Err(crate::DataError::Compression(_))));
    }
    assert_eq!(seen(0, b"plain").as_deref(), Ok(&b"plain"[..]));
    let bomb = vec![0; crate::PLAIN_BYTES_MAX as usize + 1];
    for (flags, body) in [(1, zlib(&bomb)), (0x101, frame(&bomb)), (0x201, zstandard(&bomb))] {
        assert_eq!(seen(flags, &body), Err(crate::DataError::TooLong), "{flags:x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn events_survive_both_modes(
        subject in "[^\\p{C}]{1,20}",
        data in proptest::collection::vec(any::<u8>(), 1..40),
        kind in proptest::sample::select(vec!["application/json", "text/plain", "application/octet-stream", "application/x+json"]),
    ) {
        let subject = subject.trim().to_owned();
        let mut properties = Vec::new();
        for (name, value) in [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "t"), ("subject", &subject), ("datacontenttype", kind)] {
            attribute::push(&mut properties, name, value).unwrap();
        }
        let event = ParsedEvent { properties, data: data.into() };
        for back in out_and_in(&event) {
            prop_assert_eq!(sorted(&back), sorted(&event));
            prop_assert_eq!(&back.data, &event.data);
        }
    }

    #[test]
    fn events_of_version_0_3_survive_both_modes(
        text in "[^\\p{C}]{1,20}",
        schema in "http://[a-z]{1,9}/[a-z]{0,9}",
        encoded in any::<bool>(),
        kind in proptest::sample::select(vec!["text/plain", "application/json", "application/xml"]),
    ) {
        let data = if encoded { STANDARD.encode(&text) } else if is_json(kind) { serde_json::to_string(&text).unwrap() } else { text };
        let mut properties = Vec::new();
        let given = [("specversion", "0.3"), ("id", "1"), ("source", "/s"), ("type", "t"), ("schemaurl", &schema), ("datacontenttype", kind)];
        for (name, value) in given {
            attribute::push(&mut properties, name, value).unwrap();
        }
        if encoded {
            attribute::push(&mut properties, "datacontentencoding", "base64").unwrap();
        }
        let event = ParsedEvent { properties, data: data.into() };
        for back in out_and_in(&event) {
            prop_assert_eq!(sorted(&back), sorted(&event));
            prop_assert_eq!(&back.data, &event.data);
        }
    }

    #[test]
    fn any_body_is_parsed_or_refused(body in proptest::collection::vec(any::<u8>(), 0..100), kind in 0usize..3) {
        let kind = [STRUCTURED, BATCH, "text/plain"][kind];
        let _ = request(Some(kind), std::iter::once(("ce-id", &body[..])), Bytes::from(body.clone()));
    }
}
