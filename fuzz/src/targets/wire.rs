//! Remoting: what a stranger can send to the broker's and the name server's port.

use bytes::BytesMut;
use halley_wire::{
    BrokerCode, Ext, ExtValue, Frame, Limits, RecallHandle, Serialize,
    batch::{self, BatchMessage},
    body::{self, IntegerKeys},
    encode::{self, ExtField, Request},
    frame,
    reply::{OffsetResponse, PullMessageResponse, SendMessageResponse},
    request,
};

const SERIALIZATIONS: [Serialize; 2] = [Serialize::Json, Serialize::Binary];

/// A stream of frames, as a connection reads it. What was decoded is written again in both serialisations and must come back
/// the same.
pub fn remoting_frame(input: &[u8]) {
    let limits = Limits::default();
    let mut rest = input;
    while let Ok(Some((frame, used))) = frame::decode(rest, &limits) {
        assert_eq!(frame::length(rest, &limits), Ok(Some(used)));
        let part = frame::decode(&rest[..used - 1], &limits);
        assert!(matches!(part, Ok(None)), "a frame without its last byte is not complete");
        let fields = fields_of(&frame.ext);
        // A name that is not UTF-8 is shown with U+FFFD, but looked up by its bytes.
        for (name, _) in fields.iter().filter(|(name, _)| !name.contains('\u{FFFD}')) {
            let last = fields.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
            assert_eq!(frame.ext.get(name).as_deref(), last, "field {name:?}");
        }
        for serialize in SERIALIZATIONS {
            written_comes_back(&frame, &fields, serialize);
        }
        rest = &rest[used..];
    }
}

fn written_comes_back(frame: &Frame<'_>, fields: &[(String, String)], serialize: Serialize) {
    // A binary value of no bytes is read as absent, as Java does.
    let kept: Vec<_> =
        fields.iter().filter(|(_, value)| serialize == Serialize::Json || !value.is_empty()).collect();
    let named: Vec<ExtField<'_>> =
        kept.iter().map(|(name, value)| (name.as_str(), ExtValue::Text(value))).collect();
    let request = Request { serialize, ..Request::new(frame.code, frame.opaque) };
    let mut out = BytesMut::new();
    if encode::request(&mut out, request, &named, frame.body).is_err() {
        assert!(out.is_empty(), "a refused frame leaves nothing behind");
        return;
    }
    let (again, used) = frame::decode(&out, &Limits::default())
        .expect("what was written is a frame")
        .expect("what was written is whole");
    assert_eq!(used, out.len());
    assert_eq!((again.code, again.opaque, again.body), (frame.code, frame.opaque, frame.body));
    assert_eq!(fields_of(&again.ext).iter().collect::<Vec<_>>(), kept);
}

/// Fields that are there, in order.
fn fields_of(ext: &Ext<'_>) -> Vec<(String, String)> {
    ext.iter().map(|(name, value)| (name.into_owned(), value.text().into_owned())).collect()
}

/// A frame of each kind of request, in both serialisations, two frames in a row, and headers as other clients write them.
pub fn remoting_frame_seeds() -> Vec<Vec<u8>> {
    let mut seeds = remoting_headers_seeds();
    let two = [seeds[0].clone(), seeds[1].clone()].concat();
    seeds.push(two);
    for header in [
        &br#" { "opaque" : "7" , "code" : 105, "extFields": {"topic":"caf\u00e9 \ud83e\udd80","n":1,"x":null}, "flag":0,"language":"GO","version":401,"later":[{"a":{}}] }"#[..],
        br#"{"code":0,"language":"JAVA","version":513,"opaque":1,"flag":1,"remark":"no \"topic\"\n","serializeTypeCurrentRPC":"JSON"}"#,
    ] {
        let length = (header.len() as u32 + 4).to_be_bytes();
        let header_length = (header.len() as u32).to_be_bytes();
        seeds.push([&length[..], &header_length[..], header].concat());
    }
    seeds
}

/// The first frame's ext fields, read as the header of every request and reply there is. What one header gave is written
/// and read again the same.
pub fn remoting_headers(input: &[u8]) {
    let Ok(Some((frame, _))) = frame::decode(input, &Limits::default()) else { return };
    let ext = &frame.ext;
    for form in [request::SendForm::Long, request::SendForm::Short] {
        if let Ok(header) = request::SendMessage::decode(form, ext) {
            let properties = header.properties.text();
            let mut raw = Vec::new();
            header.properties.append_to(&mut raw);
            assert_eq!(String::from_utf8_lossy(&raw), properties);
            assert!(raw.len() <= header.properties.len_max());
            let fields = header.fields(form, &properties);
            again(&fields, |ext| {
                let back = request::SendMessage::decode(form, ext).expect("what was written is read");
                assert_eq!(back.properties.text(), properties);
                assert_eq!(request::SendMessage { properties: header.properties, ..back }, header);
            });
        }
    }
    if let Ok(header) = request::PullMessage::decode(ext) {
        again(&header.fields(), |ext| assert_eq!(request::PullMessage::decode(ext), Ok(header.clone())));
    }
    if let Ok(header) = request::QueryConsumerOffset::decode(ext) {
        again(&header.fields(), |ext| {
            assert_eq!(request::QueryConsumerOffset::decode(ext), Ok(header.clone()))
        });
    }
    if let Ok(header) = request::UpdateConsumerOffset::decode(ext) {
        again(&header.fields(), |ext| {
            assert_eq!(request::UpdateConsumerOffset::decode(ext), Ok(header.clone()))
        });
    }
    if let Ok(header) = request::SearchOffset::decode(ext) {
        again(&header.fields(), |ext| assert_eq!(request::SearchOffset::decode(ext), Ok(header.clone())));
    }
    if let Ok(header) = request::CreateTopic::decode(ext) {
        again(&header.fields(), |ext| assert_eq!(request::CreateTopic::decode(ext), Ok(header.clone())));
    }
    if let Ok(header) = request::SendBack::decode(ext) {
        again(&header.fields(), |ext| assert_eq!(request::SendBack::decode(ext), Ok(header.clone())));
    }
    if let Ok(header) = request::EndTransaction::decode(ext) {
        again(&header.fields(), |ext| assert_eq!(request::EndTransaction::decode(ext), Ok(header.clone())));
    }
    if let Ok(header) = request::RecallMessage::decode(ext) {
        again(&header.fields(), |ext| assert_eq!(request::RecallMessage::decode(ext), Ok(header.clone())));
        if let Ok(handle) = RecallHandle::decode(&header.recall_handle) {
            assert_eq!(RecallHandle::decode(&handle.encode()), Ok(handle));
        }
    }
    let _ = request::GetMaxOffset::decode(ext);
    let _ = request::GetMinOffset::decode(ext);
    let _ = request::UnregisterClient::decode(ext);
    let _ = request::ConsumerGroup::decode(ext);
    if let Ok(header) = request::GetRouteInfo::decode(ext) {
        let _ = header.integer_keys(frame.version);
    }
    let _ = SendMessageResponse::decode(ext);
    let _ = PullMessageResponse::decode(ext);
    let _ = OffsetResponse::decode(ext);
}

fn again(fields: &[ExtField<'_>], check: impl Fn(&Ext<'_>)) {
    let mut out = BytesMut::new();
    let request = Request { serialize: Serialize::Json, ..Request::new(BrokerCode::HeartBeat, 1) };
    if encode::request(&mut out, request, fields, b"").is_ok() {
        let (frame, _) = frame::decode(&out, &Limits::default())
            .expect("what was written is a frame")
            .expect("what was written is whole");
        check(&frame.ext);
    }
}

/// Requests with the headers of sends, pulls and offsets, in both serialisations.
pub fn remoting_headers_seeds() -> Vec<Vec<u8>> {
    let send = [
        ("producerGroup", "producers"),
        ("topic", "orders"),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "-1"),
        ("sysFlag", "0"),
        ("bornTimestamp", "1700000000000"),
        ("flag", "0"),
        ("properties", "KEYS\x01k\x02TAGS\x01blue\x02UNIQ_KEY\x017F000001\x02WAIT\x01true"),
        ("reconsumeTimes", "0"),
        ("unitMode", "false"),
        ("maxReconsumeTimes", "16"),
        ("batch", "false"),
        ("bname", "broker-a"),
    ];
    let mut letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"].into_iter();
    let short = send.map(|(_, value)| (letters.next().unwrap_or_default(), value));
    let pull = [
        ("consumerGroup", "consumers"),
        ("topic", "orders"),
        ("queueId", "0"),
        ("queueOffset", "17"),
        ("maxMsgNums", "32"),
        ("sysFlag", "7"),
        ("commitOffset", "16"),
        ("suspendTimeoutMillis", "15000"),
        ("subscription", "a > 1"),
        ("subVersion", "1700000000000"),
        ("expressionType", "SQL92"),
        ("timestamp", "1700000000000"),
        ("boundaryType", "LOWER"),
    ];
    let topic = [
        ("topic", "orders"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "8"),
        ("writeQueueNums", "8"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    let back = [
        ("offset", "4096"),
        ("group", "g"),
        ("delayLevel", "0"),
        ("originMsgId", "7F00000100002A9F0000000000001000"),
        ("originTopic", "orders"),
        ("unitMode", "false"),
        ("maxReconsumeTimes", "16"),
    ];
    let end = [
        ("topic", "orders"),
        ("producerGroup", "p"),
        ("tranStateTableOffset", "3"),
        ("commitLogOffset", "4096"),
        ("commitOrRollback", "8"),
        ("fromTransactionCheck", "true"),
        ("msgId", "7F0000010001"),
    ];
    let recall = [("topic", "orders"), ("recallHandle", "djEgb3JkZXJzIGIgMTcwMDAwMDAwMDAwMSA3Rg==")];
    let kinds = [
        (10, &send[..]),
        (310, &short[..]),
        (11, &pull[..]),
        (17, &topic[..]),
        (36, &back[..]),
        (37, &end[..]),
        (370, &recall[..]),
    ];
    let mut seeds = Vec::new();
    for serialize in SERIALIZATIONS {
        for (code, fields) in kinds {
            let fields: Vec<ExtField<'_>> =
                fields.iter().map(|(name, value)| (*name, ExtValue::Text(value))).collect();
            let request = Request { serialize, ..Request::new(code, 7) };
            let mut out = BytesMut::new();
            encode::request(&mut out, request, &fields, b"hello").expect("a small frame");
            seeds.push(out.to_vec());
        }
    }
    seeds
}

/// JSON bodies of requests and replies. What was read is written and read again the same, with standard and with
/// RocketMQ's bare integer keys.
pub fn remoting_bodies(input: &[u8]) {
    if let Ok(heartbeat) = request::Heartbeat::decode(input) {
        assert_eq!(request::Heartbeat::decode(&heartbeat.encode()), Ok(heartbeat));
    }
    if let Ok(locks) = request::LockBatch::decode(input) {
        assert_eq!(request::LockBatch::decode(&locks.encode()), Ok(locks));
    }
    if let Ok(config) = request::CheckClientConfig::decode(input) {
        assert_eq!(request::CheckClientConfig::decode(&config.encode()), Ok(config));
    }
    for keys in [IntegerKeys::Quoted, IntegerKeys::Bare] {
        if let Ok(route) = body::route::TopicRoute::decode(input) {
            assert_eq!(body::route::TopicRoute::decode(&route.encode(keys)), Ok(route));
        }
        if let Ok(cluster) = body::cluster::ClusterInfo::decode(input) {
            assert_eq!(body::cluster::ClusterInfo::decode(&cluster.encode(keys)), Ok(cluster));
        }
    }
    if let Ok(topics) = body::topics::decode(input) {
        let written = body::topics::encode(topics.iter().map(String::as_str));
        assert_eq!(body::topics::decode(&written), Ok(topics));
    }
    if let Ok(ids) = body::consumers::decode(input) {
        let written = body::consumers::encode(ids.iter().map(String::as_str));
        assert_eq!(body::consumers::decode(&written), Ok(ids));
    }
    if let Ok(locked) = body::locks::decode(input) {
        assert_eq!(body::locks::decode(&body::locks::encode(&locked)), Ok(locked));
    }
}

/// Bodies as Java, Go and RocketMQ's broker write them.
pub fn remoting_bodies_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"clientID":"10.0.0.1@1","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"g","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[2598919],"expressionType":"TAG","subString":"TagA","subVersion":1700000000000,"tagsSet":["TagA"],"topic":"orders"}],"unitMode":false}],"producerDataSet":[{"groupName":"CLIENT_INNER_PRODUCER"}]}"#,
        r#"{"clientID":"c","consumerDataSet":null,"producerDataSet":[]}"#,
        r#"{"clientId":"c","consumerGroup":"g","mqSet":[{"brokerName":"broker-a","queueId":3,"topic":"orders"}]}"#,
        r#"{"clientId":"c","group":"g","subscriptionData":{"topic":"orders","subString":"a > 1","expressionType":"SQL92"}}"#,
        r#"{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#,
        r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{"0":"127.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster"}},"clusterAddrTable":{"DefaultCluster":["broker-a"]}}"#,
        r#"{"topicList":["orders","TBW102"]}"#,
        r#"{"consumerIdList":["10.0.0.1@1","10.0.0.2@7"]}"#,
        r#"{"lockOKMQSet":[{"brokerName":"broker-a","queueId":3,"topic":"orders"}]}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// The body of a batch send. Messages that were read make the same messages again.
pub fn batch_body(input: &[u8]) {
    let messages: Vec<_> = batch::messages(input).map_while(Result::ok).collect();
    let mut written = Vec::new();
    for message in &messages {
        assert!(batch::push(&mut written, *message), "its lengths fitted before");
    }
    let again: Result<Vec<_>, _> = batch::messages(&written).collect();
    assert_eq!(again.expect("what was written is read"), messages);
}

/// No message, one, and several.
pub fn batch_body_seeds() -> Vec<Vec<u8>> {
    let message =
        |body: &'static [u8]| BatchMessage { flag: 0, body, properties: b"TAGS\x01blue\x02WAIT\x01true" };
    let mut several = Vec::new();
    for body in [&b"one"[..], b"", b"three"] {
        batch::push(&mut several, message(body));
    }
    let mut one = Vec::new();
    batch::push(&mut one, message(b"hello"));
    vec![one, several]
}
