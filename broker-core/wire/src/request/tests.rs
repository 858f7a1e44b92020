use super::*;
use crate::{
    BrokerCode, ClientCode, ExtValue, HeaderError, Serialize,
    body::IntegerKeys,
    encode::{self, ExtField, Request},
    ext::{Ext, Value},
    frame::{self, Limits},
    notify_consumer_ids_changed,
};
use bytes::BytesMut;

/// Sends the fields in both serialisations and hands what arrives to `check`.
fn check(fields: &[ExtField<'_>], check: impl Fn(&Ext<'_>)) {
    for serialize in [Serialize::Json, Serialize::Binary] {
        for reversed in [false, true] {
            let mut fields = fields.to_vec();
            if reversed {
                fields.reverse();
            }
            let mut out = BytesMut::new();
            encode::request(
                &mut out,
                Request { serialize, ..Request::new(BrokerCode::HeartBeat, 1) },
                &fields,
                b"",
            )
            .unwrap();
            let (frame, _) = frame::decode(&out, &Limits::default()).unwrap().unwrap();
            check(&frame.ext);
        }
    }
}

/// Each field of `required`, left out, is missed by its name; made text, refused where it is a number.
fn check_errors(
    fields: &[ExtField<'_>],
    required: &[&str],
    decode: impl Fn(&Ext<'_>) -> Result<(), HeaderError>,
) {
    for name in required {
        let rest: Vec<_> = fields.iter().copied().filter(|(other, _)| other != name).collect();
        check(&rest, |ext| match decode(ext) {
            Err(HeaderError::Missing { field }) => assert_eq!(field, *name),
            _ => panic!("{name} was not missed"),
        });
    }
    for (name, value) in fields {
        if matches!(value, ExtValue::Integer(_)) {
            let wrong: Vec<_> = fields
                .iter()
                .map(|field| if field.0 == *name { (*name, "many".into()) } else { *field })
                .collect();
            check(&wrong, |ext| match decode(ext) {
                Err(HeaderError::Invalid { field, value, .. }) => {
                    assert_eq!((field, value.as_str()), (*name, "many"))
                }
                _ => panic!("{name} was not refused"),
            });
        }
    }
}

#[test]
fn sends() {
    let send = SendMessage {
        producer_group: "pg".into(),
        topic: "t".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: -1,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 7,
        properties: Value::new("KEYS\u{1}a\u{2}"),
        reconsume_times: 2,
        unit_mode: false,
        batch: true,
        max_reconsume_times: Some(16),
        broker_name: Some("broker-a".into()),
    };
    for (form, code) in [(SendForm::Long, 10), (SendForm::Short, 310), (SendForm::Short, 320)] {
        assert_eq!(SendForm::of(BrokerCode::of(code)), Some(form));
        let fields = send.fields(form, "KEYS\u{1}a\u{2}");
        check(&fields, |ext| {
            let mut back = SendMessage::decode(form, ext).unwrap();
            let mut properties = Vec::new();
            back.properties.append_to(&mut properties);
            assert_eq!(properties, b"KEYS\x01a\x02");
            assert_eq!(back.properties.text(), "KEYS\u{1}a\u{2}");
            back.properties = send.properties;
            assert_eq!(back, send);
        });
        let required = match form {
            SendForm::Long => ["topic", "queueId", "sysFlag", "bornTimestamp", "flag"],
            SendForm::Short => ["b", "e", "f", "g", "h"],
        };
        check_errors(&fields, &required, |ext| SendMessage::decode(form, ext).map(drop));
    }
    assert_eq!(SendForm::of(BrokerCode::PullMessage), None);
    assert!(SendMessage::decode(SendForm::Long, &Ext::EMPTY).is_err());
}

#[test]
fn pulls() {
    let pull = PullMessage {
        consumer_group: "g".into(),
        topic: "t".into(),
        queue_id: 1,
        queue_offset: 100,
        max_msg_nums: 32,
        sys_flag: pull::flag::COMMIT_OFFSET | pull::flag::SUSPEND,
        commit_offset: 90,
        suspend_timeout_millis: 15_000,
        subscription: Some("a || b".into()),
        sub_version: 5,
        expression_type: Some("TAG".into()),
        max_msg_bytes: None,
        broker_name: None,
        lite_topic: None,
    };
    assert!(pull.has(pull::flag::SUSPEND) && !pull.has(pull::flag::SUBSCRIPTION));
    check(&pull.fields(), |ext| assert_eq!(PullMessage::decode(ext).unwrap(), pull));
    let required = ["consumerGroup", "topic", "queueId", "queueOffset", "maxMsgNums", "sysFlag"];
    check_errors(&pull.fields(), &required, |ext| PullMessage::decode(ext).map(drop));
}

#[test]
fn offsets() {
    let query = QueryConsumerOffset {
        consumer_group: "g".into(),
        topic: "t".into(),
        queue_id: 1,
        set_zero_if_not_found: Some(false),
    };
    check(&query.fields(), |ext| assert_eq!(QueryConsumerOffset::decode(ext).unwrap(), query));
    check_errors(&query.fields(), &["consumerGroup", "topic", "queueId"], |ext| {
        QueryConsumerOffset::decode(ext).map(drop)
    });

    let update =
        UpdateConsumerOffset { consumer_group: "g".into(), topic: "t".into(), queue_id: 1, commit_offset: 9 };
    check(&update.fields(), |ext| assert_eq!(UpdateConsumerOffset::decode(ext).unwrap(), update));
    check_errors(&update.fields(), &["commitOffset"], |ext| UpdateConsumerOffset::decode(ext).map(drop));

    for boundary in [Boundary::Lower, Boundary::Upper] {
        let search =
            SearchOffset { topic: "t".into(), queue_id: 1, timestamp: 77, boundary, lite_topic: None };
        check(&search.fields(), |ext| assert_eq!(SearchOffset::decode(ext).unwrap(), search));
        check_errors(&search.fields(), &["timestamp"], |ext| SearchOffset::decode(ext).map(drop));
    }
    let old = [("topic", "t".into()), ("queueId", 1.into()), ("timestamp", 77.into())];
    check(&old, |ext| assert_eq!(SearchOffset::decode(ext).unwrap().boundary, Boundary::Lower));

    let max = GetMaxOffset { topic: "t".into(), queue_id: 1, committed: true };
    check(&max.fields()[..2], |ext| assert_eq!(GetMaxOffset::decode(ext).unwrap(), max));
    let min = GetMinOffset { topic: "t".into(), queue_id: 1 };
    check(&min.fields(), |ext| assert_eq!(GetMinOffset::decode(ext).unwrap(), min));
    check_errors(&min.fields(), &["topic", "queueId"], |ext| GetMinOffset::decode(ext).map(drop));
}

#[test]
fn topics_and_routes() {
    let create = CreateTopic {
        topic: "t".into(),
        default_topic: "TBW102".into(),
        read_queue_nums: 8,
        write_queue_nums: 8,
        perm: 6,
        topic_filter_type: Some("SINGLE_TAG".into()),
        topic_sys_flag: 0,
        order: false,
        attributes: Some("+message.type=FIFO".into()),
    };
    check(&create.fields(), |ext| assert_eq!(CreateTopic::decode(ext).unwrap(), create));
    check_errors(&create.fields(), &["topic", "readQueueNums", "writeQueueNums", "perm"], |ext| {
        CreateTopic::decode(ext).map(drop)
    });

    let mut route = GetRouteInfo { topic: "t".into(), accept_standard_json_only: false, zone: None };
    check(&route.fields(), |ext| assert_eq!(GetRouteInfo::decode(ext).unwrap(), route));
    assert_eq!(route.integer_keys(400), IntegerKeys::Bare);
    assert_eq!(route.integer_keys(401), IntegerKeys::Quoted);
    route.accept_standard_json_only = true;
    check(&route.fields(), |ext| assert_eq!(GetRouteInfo::decode(ext).unwrap(), route));
    assert_eq!(route.integer_keys(317), IntegerKeys::Quoted);
}

#[test]
fn clients() {
    let unregister =
        UnregisterClient { client_id: "c".into(), producer_group: None, consumer_group: Some("g".into()) };
    check(&unregister.fields(), |ext| assert_eq!(UnregisterClient::decode(ext).unwrap(), unregister));
    check_errors(&unregister.fields(), &["clientID"], |ext| UnregisterClient::decode(ext).map(drop));
    let group = ConsumerGroup { consumer_group: "g".into() };
    check(&group.fields(), |ext| assert_eq!(ConsumerGroup::decode(ext).unwrap(), group));

    let mut out = BytesMut::new();
    notify_consumer_ids_changed(&mut out, "g\"");
    let (frame, _) = frame::decode(&out, &Limits::default()).unwrap().unwrap();
    assert!(frame.is_oneway() && !frame.is_reply());
    assert_eq!(ClientCode::of(frame.code), ClientCode::NotifyConsumerIdsChanged);
    assert_eq!(ConsumerGroup::decode(&frame.ext).unwrap().consumer_group, "g\"");
}

#[test]
fn heartbeats_of_java_and_go() {
    let java = br#"{"clientID":"10.0.0.1@1#2","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"g","messageModel":"BROADCASTING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[97],"expressionType":"TAG","subString":"a","subVersion":1700000000000,"tagsSet":["a"],"topic":"t"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"CLIENT_INNER_PRODUCER"}],"withoutSub":false}"#;
    let heartbeat = Heartbeat::decode(java).unwrap();
    assert_eq!(heartbeat.client_id, "10.0.0.1@1#2");
    assert_eq!(heartbeat.producers[0].group_name, "CLIENT_INNER_PRODUCER");
    let consumer = &heartbeat.consumers[0];
    assert_eq!((consumer.group_name.as_str(), consumer.message_model), ("g", MessageModel::Broadcasting));
    let subscription = &consumer.subscriptions[0];
    assert_eq!(
        (subscription.topic.as_str(), subscription.sub_string.as_str(), subscription.sub_version),
        ("t", "a", 1_700_000_000_000)
    );
    assert_eq!(Heartbeat::decode(&heartbeat.encode()).unwrap(), heartbeat);

    let go = br#"{"clientID":"c","producerDataSet":[],"consumerDataSet":[{"groupName":"g","consumeType":"CONSUME_PASSIVELY","messageModel":"Clustering","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[{"classFilterMode":false,"topic":"t","subString":"*","tagsSet":[],"codeSet":[],"subVersion":1,"expressionType":""}],"unitMode":false}]}"#;
    let heartbeat = Heartbeat::decode(go).unwrap();
    assert_eq!(heartbeat.consumers[0].message_model, MessageModel::Clustering);

    let sparse = br#"{"clientID":null,"consumerDataSet":[{"subscriptionDataSet":null,"messageModel":null}],"producerDataSet":null,"new":{"a":[1]}}"#;
    assert_eq!(Heartbeat::decode(sparse).unwrap().consumers, [ConsumerData::default()]);
    assert!(Heartbeat::decode(b"").is_err());
    assert!(Heartbeat::decode(b"[1]").is_err());
    assert!(Heartbeat::decode(br#"{"clientID":1}"#).unwrap_err().to_string().contains("heartbeat"));
}

#[test]
fn locks_and_checks() {
    let java = br#"{"clientId":"c","consumerGroup":"g","mqSet":[{"brokerName":"b","queueId":3,"topic":"t"}],"onlyThisBroker":false}"#;
    let lock = LockBatch::decode(java).unwrap();
    assert_eq!(lock.queues, [MessageQueue { broker_name: "b".into(), queue_id: 3, topic: "t".into() }]);
    assert_eq!(LockBatch::decode(&lock.encode()).unwrap(), lock);
    assert!(LockBatch::decode(br#"{"mqSet":[{"queueId":"x"}]}"#).is_err());

    let java = br#"{"clientId":"c","group":"g","subscriptionData":{"expressionType":"SQL92","subString":"a > 1","topic":"t"}}"#;
    let check = CheckClientConfig::decode(java).unwrap();
    let subscription = check.subscription_data.as_ref().unwrap();
    assert_eq!(
        (subscription.expression_type.as_deref(), subscription.sub_string.as_str()),
        (Some("SQL92"), "a > 1")
    );
    assert_eq!(CheckClientConfig::decode(&check.encode()).unwrap(), check);
    assert_eq!(CheckClientConfig::decode(b"{}").unwrap().subscription_data, None);
}

proptest::proptest! {
    #[test]
    fn any_body_is_survived(body in "[{}\\[\\]\":,a-z0-9]{0,60}") {
        let _ = Heartbeat::decode(body.as_bytes());
        let _ = LockBatch::decode(body.as_bytes());
        let _ = CheckClientConfig::decode(body.as_bytes());
    }
}

#[test]
fn pops() {
    let pop = PopMessage {
        consumer_group: "g".into(),
        topic: "t".into(),
        queue_id: -1,
        max_msg_nums: 32,
        invisible_time: 60_000,
        poll_time: 15_000,
        born_time: 1_700_000_000_000,
        init_mode: pop::init_mode::MAX,
        exp_type: Some("SQL92".into()),
        exp: Some("a > 1".into()),
        order: true,
        attempt_id: Some("attempt".into()),
    };
    check(&pop.fields(), |ext| assert_eq!(PopMessage::decode(ext).unwrap(), pop));
    let required = [
        "consumerGroup",
        "topic",
        "queueId",
        "maxMsgNums",
        "invisibleTime",
        "pollTime",
        "bornTime",
        "initMode",
    ];
    check_errors(&pop.fields(), &required, |ext| PopMessage::decode(ext).map(drop));
    let bare = PopMessage { exp_type: None, exp: None, order: false, attempt_id: None, ..pop.clone() };
    check(&bare.fields()[..8], |ext| assert_eq!(PopMessage::decode(ext).unwrap(), bare));

    let notification = Notification {
        consumer_group: "g".into(),
        topic: "t".into(),
        queue_id: 3,
        poll_time: 1000,
        born_time: 0,
        order: false,
        attempt_id: None,
        exp_type: Some("TAG".into()),
        exp: Some("a".into()),
    };
    check(&notification.fields(), |ext| assert_eq!(Notification::decode(ext).unwrap(), notification));
    let required = ["consumerGroup", "topic", "queueId", "pollTime", "bornTime"];
    check_errors(&notification.fields(), &required, |ext| Notification::decode(ext).map(drop));

    let info = PollingInfo { consumer_group: "g".into(), topic: "t".into(), queue_id: -1 };
    check(&info.fields(), |ext| assert_eq!(PollingInfo::decode(ext).unwrap(), info));
    let required = ["consumerGroup", "topic", "queueId"];
    check_errors(&info.fields(), &required, |ext| PollingInfo::decode(ext).map(drop));

    let peek = PeekMessage { consumer_group: "g".into(), topic: "t".into(), queue_id: 0, max_msg_nums: 8 };
    check(&peek.fields(), |ext| assert_eq!(PeekMessage::decode(ext).unwrap(), peek));
    let required = ["consumerGroup", "topic", "queueId", "maxMsgNums"];
    check_errors(&peek.fields(), &required, |ext| PeekMessage::decode(ext).map(drop));
}

#[test]
fn acknowledgements() {
    let ack = AckMessage {
        consumer_group: "g".into(),
        topic: "%RETRY%g_t".into(),
        queue_id: 0,
        extra_info: "0 1 2 3 1 b 0 5".into(),
        offset: 5,
        lite_topic: None,
    };
    check(&ack.fields(), |ext| assert_eq!(AckMessage::decode(ext).unwrap(), ack));
    let required = ["consumerGroup", "topic", "queueId", "extraInfo", "offset"];
    check_errors(&ack.fields(), &required, |ext| AckMessage::decode(ext).map(drop));
    let change = ChangeInvisibleTime { message: ack, invisible_time: 10_000, suspend: true };
    check(&change.fields(), |ext| assert_eq!(ChangeInvisibleTime::decode(ext).unwrap(), change));
    check_errors(&change.fields(), &["invisibleTime"], |ext| ChangeInvisibleTime::decode(ext).map(drop));

    let body = br#"{"acks":[{"b":"BQE=","c":"g","it":60000,"pt":1700000000000,"q":2,"r":"0","rq":3,"so":100,"t":"t"}],"brokerName":"b"}"#;
    let batch = BatchAckMessage::decode(body).unwrap();
    assert_eq!(batch.acks[0].distances().unwrap(), [0, 2, 8]);
    let mut again = batch.clone();
    again.acks[0].set_distances(&[0, 2, 8]);
    assert_eq!(again, batch);
    assert_eq!(BatchAckMessage::decode(&batch.encode()).unwrap(), batch);
    let long = br#"{"acks":[{"bitSet":null,"consumerGroup":"g","popTime":5,"queueId":1}]}"#;
    let long = BatchAckMessage::decode(long).unwrap();
    assert_eq!((long.acks[0].pop_time, long.acks[0].queue_id), (5, 1));
    assert!(long.acks[0].distances().unwrap().is_empty());
    assert!(BatchAck { bit_set: "?".into(), ..BatchAck::default() }.distances().is_err());
}

#[test]
fn request_modes() {
    let body = br#"{"consumerGroup":"g","mode":"POP","popShareQueueNum":2,"topic":"t"}"#;
    let set = SetMessageRequestMode::decode(body).unwrap();
    assert_eq!((set.mode, set.pop_share_queue_num), (RequestMode::Pop, 2));
    assert_eq!(SetMessageRequestMode::decode(&set.encode()).unwrap(), set);
    let body = br#"{"clientId":"c","consumerGroup":"g","messageModel":"CLUSTERING","strategyName":"AVG","topic":"t"}"#;
    let query = QueryAssignment::decode(body).unwrap();
    assert_eq!((query.strategy_name.as_str(), query.message_model), ("AVG", MessageModel::Clustering));
    assert_eq!(QueryAssignment::decode(&query.encode()).unwrap(), query);
}

#[test]
fn queries_come_back() {
    let query = QueryMessage {
        topic: "orders".into(),
        key: "k 1".into(),
        max_num: 32,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        index_type: Some("T".into()),
        last_key: Some("1@orders@T@k@u@7".into()),
        unique_key: true,
    };
    check(&query.fields(), |ext| assert_eq!(QueryMessage::decode(ext).unwrap(), query));
    let required = ["topic", "key", "maxNum", "beginTimestamp", "endTimestamp"];
    check_errors(&query.fields(), &required, |ext| QueryMessage::decode(ext).map(drop));
    let view = ViewMessage { offset: -1 };
    check(&view.fields(), |ext| assert_eq!(ViewMessage::decode(ext).unwrap(), view));
    check_errors(&view.fields(), &["offset"], |ext| ViewMessage::decode(ext).map(drop));
    let queue = QueryConsumeQueue {
        topic: "orders".into(),
        queue_id: 3,
        index: 5,
        count: 10,
        consumer_group: Some("g".into()),
    };
    check(&queue.fields(), |ext| assert_eq!(QueryConsumeQueue::decode(ext).unwrap(), queue));
    check(&[], |ext| {
        let none =
            QueryConsumeQueue { topic: "".into(), queue_id: 0, index: 0, count: 0, consumer_group: None };
        assert_eq!(QueryConsumeQueue::decode(ext).unwrap(), none);
    });
}

#[test]
fn a_reply_is_pushed_with_the_names_that_java_reads() {
    let fields: [ExtField<'_>; 6] = [
        ("a", "p".into()),
        ("b", "DefaultCluster_REPLY_TOPIC".into()),
        ("e", 0.into()),
        ("f", 0.into()),
        ("g", 17.into()),
        ("h", 0.into()),
    ];
    check(&fields, |ext| {
        let message = SendMessage::decode(SendForm::Short, ext).unwrap();
        let push = PushReply {
            message: &message,
            properties: "CORRELATION_ID\u{1}c\u{2}",
            born_host: "127.0.0.1:1",
            store_host: "127.0.0.1:2",
            store_timestamp: 18,
        };
        check(&push.fields(), |ext| {
            let back = SendMessage::decode(SendForm::Long, ext).unwrap();
            assert_eq!(
                (&*back.producer_group, &*back.topic, back.born_timestamp),
                ("p", &*message.topic, 17)
            );
            assert_eq!(back.properties.text(), push.properties);
            assert_eq!(ext.get("storeTimestamp").as_deref(), Some("18"));
            assert_eq!(ext.get("bornHost").as_deref(), Some("127.0.0.1:1"));
        });
    });
}
