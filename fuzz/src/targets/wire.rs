//! Remoting: what a stranger can send to the broker's and the name server's port.

use bytes::BytesMut;
use halley_wire::{
    BrokerCode, Ext, ExtValue, Frame, Limits, RecallHandle, Serialize,
    batch::{self, BatchMessage},
    body::{
        self, IntegerKeys,
        connections::ConsumerConnections,
        group_config::{AllGroupConfigs, GroupConfigBody},
        progress, static_topic,
        topic_config::{AllTopicConfigs, TopicConfigBody},
    },
    encode::{self, ExtField, Request},
    frame,
    pop::{ExtraInfo, parse_offset_info},
    reply::{
        ChangeInvisibleTimeResponse, OffsetResponse, PopLiteMessageResponse, PopMessageResponse,
        PullMessageResponse, QueryMessageResponse, SendMessageResponse,
    },
    request::{self, admin, lite},
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
    if let Ok(header) = request::PopMessage::decode(ext) {
        again(&header.fields(), |ext| assert_eq!(request::PopMessage::decode(ext), Ok(header.clone())));
    }
    if let Ok(header) = request::ChangeInvisibleTime::decode(ext) {
        again(&header.fields(), |ext| {
            assert_eq!(request::ChangeInvisibleTime::decode(ext), Ok(header.clone()))
        });
    }
    if let Ok(header) = request::AckMessage::decode(ext) {
        again(&header.fields(), |ext| assert_eq!(request::AckMessage::decode(ext), Ok(header.clone())));
    }
    if let Ok(header) = request::Notification::decode(ext) {
        again(&header.fields(), |ext| assert_eq!(request::Notification::decode(ext), Ok(header.clone())));
    }
    if let Ok(header) = request::PeekMessage::decode(ext) {
        again(&header.fields(), |ext| assert_eq!(request::PeekMessage::decode(ext), Ok(header.clone())));
    }
    let _ = request::PollingInfo::decode(ext);
    if let Ok(header) = lite::PopLiteMessage::decode(ext) {
        again(&header.fields(), |ext| assert_eq!(lite::PopLiteMessage::decode(ext), Ok(header.clone())));
    }
    let _ = lite::GetParentTopicInfo::decode(ext);
    let _ = lite::GetLiteTopicInfo::decode(ext);
    let _ = lite::GetLiteClientInfo::decode(ext);
    let _ = lite::GetLiteGroupInfo::decode(ext);
    let _ = lite::TriggerLiteDispatch::decode(ext);
    let _ = PopMessageResponse::decode(ext);
    let _ = PopLiteMessageResponse::decode(ext);
    let _ = ChangeInvisibleTimeResponse::decode(ext);
    if let Ok(header) = request::QueryMessage::decode(ext) {
        again(&header.fields(), |ext| assert_eq!(request::QueryMessage::decode(ext), Ok(header.clone())));
    }
    if let Ok(header) = request::QueryConsumeQueue::decode(ext) {
        again(&header.fields(), |ext| {
            assert_eq!(request::QueryConsumeQueue::decode(ext), Ok(header.clone()))
        });
    }
    let _ = request::ViewMessage::decode(ext);
    let _ = QueryMessageResponse::decode(ext);
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
    administration(ext);
    let _ = request::GetMaxOffset::decode(ext);
    let _ = request::GetMinOffset::decode(ext);
    let _ = request::UnregisterClient::decode(ext);
    let _ = request::ConsumerGroup::decode(ext);
    if let Ok(header) = request::GetRouteInfo::decode(ext) {
        let _ = header.integer_keys(frame.version);
    }
    if let Ok(header) = request::RegisterBroker::decode(ext) {
        again(&header.fields(), |ext| assert_eq!(request::RegisterBroker::decode(ext), Ok(header.clone())));
    }
    let _ = request::BrokerHeartbeat::decode(ext);
    let _ = request::GetBrokerMemberGroup::decode(ext);
    let _ = request::BrokerName::decode(ext);
    let _ = request::NamesrvTopic::decode(ext);
    let _ = request::ClusterName::decode(ext);
    let _ = request::KvConfig::decode(ext);
    let _ = SendMessageResponse::decode(ext);
    let _ = PullMessageResponse::decode(ext);
    let _ = OffsetResponse::decode(ext);
}

/// The headers of administration requests, which are nothing but named values.
fn administration(ext: &Ext<'_>) {
    macro_rules! come_back {
        ($($header:ident)+) => {
            $(if let Ok(header) = admin::$header::decode(ext) {
                again(&header.fields(), |ext| assert_eq!(admin::$header::decode(ext), Ok(header.clone())));
            })+
        };
    }
    come_back!(TopicOnly GroupOnly ProducerGroup GroupAndTopic GetAllTopicConfig GetAllGroupConfig DeleteGroup);
    come_back!(GroupForbidden GetConsumeStats ResetOffset GetConsumerStatus ConsumerClient);
    come_back!(QueryCorrectionOffset CloneGroupOffset GetEarliestStoreTime ViewStats);
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
    let pop = [
        ("consumerGroup", "consumers"),
        ("topic", "orders"),
        ("queueId", "-1"),
        ("maxMsgNums", "32"),
        ("invisibleTime", "60000"),
        ("pollTime", "15000"),
        ("bornTime", "1700000000000"),
        ("initMode", "0"),
        ("expType", "TAG"),
        ("exp", "a || b"),
        ("order", "true"),
        ("attemptId", "a"),
    ];
    let ack = [
        ("consumerGroup", "consumers"),
        ("topic", "orders"),
        ("queueId", "0"),
        ("extraInfo", "10 1700000000000 60000 3 0 broker-a 0 12"),
        ("offset", "12"),
        ("invisibleTime", "10000"),
        ("suspend", "false"),
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
    let reset = [
        ("group", "g"),
        ("topic", "orders"),
        ("timestamp", "-1"),
        ("isForce", "true"),
        ("queueId", "0"),
        ("offset", "7"),
        ("statsName", "TOPIC_PUT_NUMS"),
        ("statsKey", "orders"),
    ];
    let kinds = [
        (222, &reset[..]),
        (10, &send[..]),
        (310, &short[..]),
        (11, &pull[..]),
        (17, &topic[..]),
        (36, &back[..]),
        (37, &end[..]),
        (370, &recall[..]),
        // Numbers that fit both serialisations; these headers' own do not.
        (1_050, &pop[..]),
        (1_051, &ack[..]),
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
    if let Ok(batch) = request::BatchAckMessage::decode(input) {
        for ack in &batch.acks {
            let _ = ack.distances();
        }
        assert_eq!(request::BatchAckMessage::decode(&batch.encode()), Ok(batch));
    }
    if let Ok(wanted) = lite::LiteSubscriptionCtl::decode(input) {
        assert_eq!(lite::LiteSubscriptionCtl::decode(&wanted.encode()), Ok(wanted));
    }
    if let Ok(query) = request::QueryAssignment::decode(input) {
        assert_eq!(request::QueryAssignment::decode(&query.encode()), Ok(query));
    }
    if let Ok(set) = request::SetMessageRequestMode::decode(input) {
        assert_eq!(request::SetMessageRequestMode::decode(&set.encode()), Ok(set));
    }
    let _ = body::assignment::decode(input);
    if let Ok(modes) = body::assignment::decode_modes(input) {
        let _ = body::assignment::decode_modes(&body::assignment::encode_modes(&modes));
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
    if let Ok(topic) = TopicConfigBody::decode(input) {
        let _ = topic.settings();
        assert_eq!(TopicConfigBody::decode(&topic.encode()), Ok(topic));
    }
    if let Ok(mapping) = static_topic::decode(input) {
        assert_eq!(static_topic::decode(&static_topic::encode(&mapping)), Ok(mapping));
    }
    if let Ok(topics) = AllTopicConfigs::decode(input) {
        assert_eq!(AllTopicConfigs::decode(&topics.encode()), Ok(topics));
    }
    if let Ok(group) = GroupConfigBody::decode(input) {
        let _ = group.settings();
        assert_eq!(GroupConfigBody::decode(&group.encode()), Ok(group));
    }
    if let Ok(groups) = AllGroupConfigs::decode(input) {
        assert_eq!(AllGroupConfigs::decode(&groups.encode()), Ok(groups));
    }
    let _ = (TopicConfigBody::decode_list(input), GroupConfigBody::decode_list(input));
    if let Ok(offsets) = progress::decode_offsets(input) {
        assert_eq!(progress::decode_offsets(&progress::encode_offsets(&offsets)), Ok(offsets));
    }
    let _ = progress::decode_client_status(input);
    // Floating point numbers need not come back to the last bit.
    let _ = progress::TopicStats::decode(input).map(|stats| stats.encode());
    let _ = progress::ConsumeStats::decode(input).map(|stats| stats.encode());
    if let Ok(connections) = ConsumerConnections::decode(input) {
        assert_eq!(ConsumerConnections::decode(&connections.encode()), Ok(connections));
    }
    if let Ok(locked) = body::locks::decode(input) {
        assert_eq!(body::locks::decode(&body::locks::encode(&locked)), Ok(locked));
    }
    for compressed in [false, true] {
        let _ = body::Registration::decode(input, compressed);
    }
    if let Ok(Some(version)) = body::decode_version(input) {
        assert_eq!(body::decode_version(&body::version(version)), Ok(Some(version)));
    }
    if let Ok(values) = body::kv_configs::decode_file(input) {
        assert_eq!(body::kv_configs::decode_file(&body::kv_configs::encode_file(&values)), Ok(values));
    }
    let _ = body::properties::decode(input);
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
        r#"{"acks":[{"b":"BQE=","c":"g","it":60000,"pt":1700000000000,"q":2,"r":"0","rq":3,"so":100,"t":"t"}],"brokerName":"b"}"#,
        r#"{"consumerGroup":"g","mode":"POP","popShareQueueNum":2,"topic":"t"}"#,
        r#"{"messageRequestModeMap":{"t":{"g":{"consumerGroup":"g","mode":"POP","popShareQueueNum":0,"topic":"t"}}}}"#,
        r#"{"offsetTable":{{"brokerName":"broker-a","queueId":1,"topic":"T1"}:{"brokerOffset":9,"consumerOffset":7,"lastTimestamp":1700000000000,"pullOffset":8}},"consumeTps":0.5}"#,
        r#"{"offsetTable":{{"brokerName":"broker-a","queueId":1,"topic":"T1"}:7}}"#,
        r#"{"attributes":{"+message.type":"FIFO"},"order":false,"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"T1","topicSysFlag":0,"writeQueueNums":2}"#,
        r#"{"groupName":"G","groupRetryPolicy":{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":1000,"max":5000,"multiplier":2}},"attributes":{}}"#,
        r#"{"lockOKMQSet":[{"brokerName":"broker-a","queueId":3,"topic":"orders"}]}"#,
        r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":5},"topicConfigTable":{"t":{"attributes":{},"order":false,"perm":6,"readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"t","topicSysFlag":0,"writeQueueNums":8}},"topicQueueMappingInfoMap":{"t":{"bname":"b","currIdMap":{0:0},"epoch":3,"totalQueues":4}}}}"#,
        r#"{"counter":1,"stateVersion":0,"timestamp":5}"#,
        r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"orders":"broker-a:4"}}}"#,
        "# a comment\na=1\n b : 2 \\\n 3\nc\\u00fc=\\\\\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into_iter()
    .chain([COMPRESSED_REGISTRATION.to_vec()])
    .collect()
}

/// A registration as a broker with `compressedRegister` writes it.
const COMPRESSED_REGISTRATION: &[u8] = b"\
        \x78\xda\x63\x60\x60\xd0\xa9\x56\x4a\xce\x2f\xcd\x2b\x49\x2d\x52\xb2\x32\xd4\x51\x2a\x2e\x49\x2c\
        \x49\x0d\x4b\x2d\x2a\xce\xcc\xcf\x53\xb2\x32\xd0\x51\x2a\xc9\xcc\x4d\x05\x0a\xe6\x16\x28\x59\x99\
        \xd6\x32\x30\x30\x30\x02\xb1\x68\x89\x82\x89\x82\x85\x82\x99\x42\xb0\xa7\x9f\xbb\x8f\x6b\x7c\x88\
        \xa3\xbb\x42\x35\x48\x92\x3d\x5a\x29\xcd\xca\x50\x29\x16\xaa\x4e\xbb\x5a\x29\x29\x2f\x31\x37\x55\
        \xc9\x4a\x29\x49\x09\x68\x54\x7e\x41\x66\x32\x90\x5d\x02\x64\x27\x97\x16\x15\x79\xa6\xf8\x26\x02\
        \x8d\xad\x36\xb0\x32\xa8\xad\x05\x00\x09\x77\x24\x8c";

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

/// Handles of popped messages, and the lists in replies to pops, one per line. What was read is written and read again
/// the same.
pub fn pop_info(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.lines();
    let (handle, start, messages) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    if let Ok(handle) = ExtraInfo::parse(handle) {
        assert_eq!(ExtraInfo::parse(&handle.to_string()), Ok(handle));
    }
    if let Some(queues) = parse_offset_info(start, messages) {
        let mut info = halley_wire::pop::OffsetInfo::default();
        for queue in &queues {
            info.push(queue.retry, queue.queue, queue.start, queue.offsets.iter().copied());
        }
        assert_eq!(parse_offset_info(&info.start, &info.messages), Some(queues));
    }
}

/// A handle, and the lists of a reply.
pub fn pop_info_seeds() -> Vec<Vec<u8>> {
    ["10 1700000000000 60000 3 0 broker-a 2 12\n0 2 10;1 0 5\n0 2 10,12;1 0 5", "1 2 3 999 1 b"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}
