use super::*;
use crate::{
    BrokerCode, EncodeError, ExtValue, HeaderError,
    encode::{self, ExtField, Request},
};
use bytes::BytesMut;
use proptest::prelude::*;

const LIMITS: Limits = Limits { frame_bytes_max: FRAME_BYTES_MAX };

fn framed(serialize: u8, header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(4 + header.len() + body.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(&u32::try_from(header.len()).unwrap().to_be_bytes());
    bytes[4] = serialize;
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(body);
    bytes
}

fn json(header: &str) -> Result<Frame<'static>, FrameError> {
    let bytes: &'static [u8] = framed(0, header.as_bytes(), b"body").leak();
    let (frame, used) = decode(bytes, &LIMITS)?.expect("the frame is complete");
    assert_eq!((used, frame.body, frame.serialize), (bytes.len(), &b"body"[..], Serialize::Json));
    Ok(frame)
}

#[test]
fn json_as_fastjson_and_go_write_it() {
    let java = r#"{"code":310,"extFields":{"a":"g","i":"k\u0001v\u0002"},"flag":0,"language":"JAVA","opaque":9,"serializeTypeCurrentRPC":"JSON","version":513}"#;
    let frame = json(java).unwrap();
    assert_eq!((frame.code, frame.language, frame.version, frame.opaque, frame.flag), (310, 0, 513, 9, 0));
    assert_eq!(frame.remark, None);
    assert_eq!(frame.ext.get("i").unwrap(), "k\u{1}v\u{2}");

    let go = r#"{"code":105,"language":"GO","version":317,"opaque":-1,"flag":2,"remark":"","extFields":{"topic":"t"}}"#;
    let frame = json(go).unwrap();
    assert_eq!((frame.code, frame.language, frame.opaque), (105, crate::language::GO, -1));
    assert!(frame.is_oneway() && !frame.is_reply());
    assert_eq!(frame.remark, None);
    assert_eq!(frame.ext.get("topic").unwrap(), "t");
}

#[test]
fn json_in_odd_but_valid_forms() {
    let frame = json(" { \"x\" : {\"extFields\":[\"}\",{}]} ,\n\"flag\":\"1\",\"opaque\":null,\"extFields\":null,\"language\":12,\"remark\":\"a\\n\",\"code\":7 } ").unwrap();
    assert_eq!((frame.code, frame.opaque, frame.flag, frame.language), (7, 0, 1, 12));
    assert_eq!(frame.remark.as_deref(), Some("a\n"));
    assert_eq!(frame.ext.iter().count(), 0);
    let frame = json(r#"{"extFields":{},"language":"KLINGON"}"#).unwrap();
    assert_eq!((frame.code, frame.language), (0, crate::language::OTHER));
    assert_eq!(json("{}").unwrap().code, 0);
    let frame = json(r#"{"extFields": {"n":1,"t":true,"z":null,"o":{"p":[1]}, "s":"x"},"code":1}"#).unwrap();
    let read = |name| frame.ext.get(name).map(std::borrow::Cow::into_owned);
    assert_eq!(
        ["n", "t", "z", "o", "s"].map(read),
        [Some("1"), Some("true"), None, Some(r#"{"p":[1]}"#), Some("x")].map(|text| text.map(str::to_owned))
    );
}

#[test]
fn json_that_is_wrong_says_where() {
    for broken in [
        "",
        "null",
        "[]",
        "{",
        r#"{"code"}"#,
        r#"{"code":}"#,
        r#"{"code":1"#,
        r#"{"code":1,}"#,
        r#"{"code":1}x"#,
        r#"{"code":1.5}"#,
        r#"{"code":2147483648}"#,
        r#"{"opaque":"one"}"#,
        r#"{"extFields":[]}"#,
        r#"{"extFields":"a"}"#,
        r#"{"extFields":{"a"}}"#,
        r#"{"extFields":{"a":"b}}"#,
        r#"{"extFields":{"a":"b"}"#,
    ] {
        assert!(matches!(json(broken), Err(FrameError::Header { form: "JSON", .. })), "{broken}");
    }
    let error = json(r#"{"code":1,"flag":x}"#).unwrap_err();
    assert_eq!(error.to_string(), "the JSON header is malformed at byte 17: expected a 32-bit integer");
}

#[test]
fn lengths_are_checked_before_anything_is_awaited() {
    let start = |follows: i32, word: [u8; 4]| [follows.to_be_bytes(), word].concat();
    let decode_start =
        |follows, word| decode(&start(follows, word), &LIMITS).map(|frame| frame.map(|(_, used)| used));
    assert_eq!(decode_start(-1, [0; 4]), Err(FrameError::TooShort(-1)));
    assert_eq!(decode_start(i32::MIN, [0; 4]), Err(FrameError::TooShort(i32::MIN)));
    assert_eq!(decode_start(3, [0; 4]), Err(FrameError::TooShort(3)));
    let max = i32::try_from(FRAME_BYTES_MAX).unwrap();
    assert_eq!(
        decode_start(max - 3, [0; 4]),
        Err(FrameError::TooLong { bytes: FRAME_BYTES_MAX + 1, max: FRAME_BYTES_MAX })
    );
    assert!(matches!(decode_start(i32::MAX, [0; 4]), Err(FrameError::TooLong { .. })));
    assert_eq!(decode_start(max - 4, [0; 4]), Ok(None));
    assert_eq!(decode_start(100, [0, 0, 0, 97]), Err(FrameError::HeaderTooLong { header: 97, room: 96 }));
    assert_eq!(decode_start(100, [0, 0, 0, 96]), Ok(None));
    assert_eq!(decode_start(100, [2, 0, 0, 0]), Err(FrameError::UnknownSerialize(2)));
    // An HTTP request on the wrong port is refused at once.
    assert!(decode(b"GET / HTTP/1.1\r\n\r\n", &LIMITS).is_err());
    assert_eq!(decode(&[], &LIMITS).unwrap().map(|_| ()), None);
    assert_eq!(length(&start(100, [1, 0, 0, 50]), &LIMITS), Ok(Some(104)));
    let small = Limits { frame_bytes_max: 50 };
    assert!(matches!(
        length(&start(100, [1, 0, 0, 50]), &small),
        Err(FrameError::TooLong { bytes: 104, max: 50 })
    ));
}

#[test]
fn binary_that_is_wrong_says_where() {
    let fixed = [0, 34, 0, 1, 0x8D, 0, 0, 0, 1, 0, 0, 0, 0];
    let decoded = |rest: &[u8]| {
        let bytes = framed(1, &[&fixed[..], rest].concat(), b"");
        decode(&bytes, &LIMITS).map(|frame| frame.map(|(frame, _)| (frame.code, frame.version)))
    };
    assert_eq!(decoded(&[0; 8]), Ok(Some((34, 397))));
    let at_of = |rest: &[u8]| match decoded(rest) {
        Err(FrameError::Header { form: "binary", at, .. }) => at,
        other => panic!("{other:?}"),
    };
    assert_eq!(at_of(&[]), 13);
    assert_eq!(at_of(&[0xFF, 0, 0, 0, 0, 0, 0, 0]), 13);
    assert_eq!(at_of(&[0, 0, 0, 0, 0, 0, 0, 1]), 17);
    // One good pair, then a name without a value, then one longer than the rest.
    let fields = |fields: &[u8]| {
        [&[0, 0, 0, 0][..], &u32::try_from(fields.len()).unwrap().to_be_bytes(), fields].concat()
    };
    let good = b"\0\x01a\0\0\0\x01b";
    assert_eq!(decoded(&fields(good)), Ok(Some((34, 397))));
    assert_eq!(at_of(&fields(&[&good[..], b"\0\x01a"].concat())), 29);
    assert_eq!(at_of(&fields(&[&good[..], b"\0\x09a\0\0\0\x01b"].concat())), 29);
    assert_eq!(at_of(&fields(b"\xFF\x01a\0\0\0\x01b")), 21);
    assert!(matches!(decode(&framed(1, &fixed[..12], b""), &LIMITS), Err(FrameError::Header { at: 12, .. })));
}

#[test]
fn fields_are_bounded() {
    let fields = vec![("a", ExtValue::Integer(1)); crate::ext::FIELDS_MAX + 1];
    for serialize in [Serialize::Json, Serialize::Binary] {
        let head = Request { serialize, ..Request::new(BrokerCode::HeartBeat, 1) };
        let decoded = |fields: &[ExtField<'_>]| {
            let mut out = BytesMut::new();
            encode::request(&mut out, head, fields, b"").unwrap();
            decode(&out, &LIMITS).map(|frame| frame.unwrap().0.ext.iter().count())
        };
        assert_eq!(decoded(&fields), Err(FrameError::TooManyFields));
        assert_eq!(decoded(&fields[1..]), Ok(crate::ext::FIELDS_MAX));
    }
}

/// A frame of any kind, as it is to be encoded.
#[derive(Debug, Clone)]
struct Sent {
    request: Request,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Sent {
    fn encode(&self) -> Result<BytesMut, EncodeError> {
        let fields: Vec<ExtField<'_>> =
            self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str().into())).collect();
        let mut out = BytesMut::new();
        encode::request(&mut out, self.request, &fields, &self.body)?;
        Ok(out)
    }
}

fn sent() -> impl Strategy<Value = Sent> {
    let request = (any::<bool>(), 0..32_767i32, any::<i32>(), any::<bool>(), 0u8..14, 0..32_767i32);
    let fields = proptest::collection::vec(("[a-zA-Z\"\\\\\u{1}é]{1,8}", "(?s).{1,20}"), 0..20);
    let body = proptest::collection::vec(any::<u8>(), 0..50);
    (request, fields, body).prop_map(|((binary, code, opaque, oneway, language, version), fields, body)| {
        let serialize = if binary { Serialize::Binary } else { Serialize::Json };
        Sent { request: Request { serialize, code, opaque, oneway, language, version }, fields, body }
    })
}

/// Everything that reads a frame, on bytes that may be none.
fn read_all(bytes: &[u8]) {
    if let Ok(Some((frame, used))) = decode(bytes, &LIMITS) {
        assert!(used <= bytes.len());
        for (name, value) in frame.ext.iter() {
            let mut out = Vec::new();
            value.append_to(&mut out);
            assert!(out.len() <= value.len_max());
            // A name that is not UTF-8 is shown with U+FFFD, but is not found by that.
            assert!(name.contains('\u{fffd}') || frame.ext.get(&name).is_some());
        }
        let header: Result<_, HeaderError> = crate::request::PullMessage::decode(&frame.ext);
        let _ = header;
        let _ = frame.remark;
    }
}

proptest! {
    #[test]
    fn frames_come_back(sent in sent(), rest in proptest::collection::vec(any::<u8>(), 0..20)) {
        let mut bytes = sent.encode().unwrap();
        let length = bytes.len();
        for cut in 0..length {
            prop_assert!(decode(&bytes[..cut], &LIMITS).unwrap().is_none());
        }
        bytes.extend_from_slice(&rest);
        let (frame, used) = decode(&bytes, &LIMITS).unwrap().unwrap();
        prop_assert_eq!(used, length);
        let request = sent.request;
        prop_assert_eq!((frame.code, frame.opaque, frame.is_oneway()), (request.code, request.opaque, request.oneway));
        prop_assert_eq!((frame.language, frame.version, frame.serialize), (request.language, request.version, request.serialize));
        prop_assert_eq!(frame.body, &sent.body[..]);
        let fields: Vec<_> = frame.ext.iter().map(|(name, value)| (name.into_owned(), value.text().into_owned())).collect();
        prop_assert_eq!(&fields, &sent.fields);
        for (name, _) in &sent.fields {
            let last = sent.fields.iter().rfind(|(other, _)| other == name).map(|(_, value)| value.as_str());
            let got = frame.ext.get(name);
            prop_assert_eq!(got.as_deref(), last);
        }
        if request.serialize == Serialize::Json {
            let header = serde_json::from_slice::<serde_json::Value>(&bytes[8..length - sent.body.len()]);
            prop_assert!(header.is_ok());
        }
    }

    #[test]
    fn damaged_frames_are_survived(sent in sent(), damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = sent.encode().unwrap();
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        read_all(&bytes);
    }

    #[test]
    fn damaged_headers_are_survived(sent in sent(), damage in proptest::collection::vec((any::<proptest::sample::Index>(), prop_oneof![Just(b'"'), Just(b'{'), Just(b'}'), Just(b'\\'), Just(0xFFu8), any::<u8>()]), 1..6)) {
        // The lengths before the header stay right, so that the header's own decoder sees the damage.
        let mut bytes = sent.encode().unwrap();
        for (index, byte) in damage {
            let at = 8 + index.index(bytes.len() - 8);
            bytes[at] = byte;
        }
        read_all(&bytes);
    }

    #[test]
    fn any_bytes_are_survived(serialize in 0u8..2, header in proptest::collection::vec(prop_oneof![Just(0u8), Just(b'{'), Just(b'"'), any::<u8>()], 0..80), body in proptest::collection::vec(any::<u8>(), 0..9)) {
        read_all(&header);
        read_all(&framed(serialize, &header, &body));
    }
}
