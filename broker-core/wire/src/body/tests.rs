use super::*;
use crate::request::{MessageQueue, RequestMode, SetMessageRequestMode};
use proptest::prelude::*;

fn broker() -> BrokerData {
    BrokerData {
        cluster: "DefaultCluster".into(),
        broker_name: "broker-a".into(),
        addresses: [(0, "127.0.0.1:10911".to_owned()), (1, "127.0.0.1:10921".to_owned())].into(),
        ..BrokerData::default()
    }
}

#[test]
fn routes_look_like_rocketmq_5_5() {
    let route = TopicRoute {
        order_topic_conf: None,
        queues: vec![QueueData {
            broker_name: "broker-a".into(),
            read_queue_nums: 8,
            write_queue_nums: 8,
            perm: 6,
            topic_sys_flag: 0,
        }],
        brokers: vec![broker()],
        ..TopicRoute::default()
    };
    let bare = r#"{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:10911",1:"127.0.0.1:10921"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#;
    assert_eq!(String::from_utf8(route.encode(IntegerKeys::Bare)).unwrap(), bare);
    let standard = bare.replace("0:\"127", "\"0\":\"127").replace("1:\"127", "\"1\":\"127");
    assert_eq!(String::from_utf8(route.encode(IntegerKeys::Quoted)).unwrap(), standard);
    for keys in [IntegerKeys::Bare, IntegerKeys::Quoted] {
        assert_eq!(TopicRoute::decode(&route.encode(keys)).unwrap(), route);
        assert_eq!(TopicRoute::decode(&TopicRoute::default().encode(keys)).unwrap(), TopicRoute::default());
    }
    let ordered = TopicRoute { order_topic_conf: Some("broker-a:4".into()), ..route };
    assert_eq!(TopicRoute::decode(&ordered.encode(IntegerKeys::Quoted)).unwrap(), ordered);
}

#[test]
fn routes_pass_on_zones_filter_servers_and_static_topics() {
    let mapping = halley_model::QueueMapping {
        broker_name: Some("b1".into()),
        queues: [(0, 0), (1, 1)].into(),
        epoch: 3,
        scope: Some("__global__".into()),
        topic: Some("A".into()),
        total_queues: 4,
        dirty: false,
    };
    let route = TopicRoute {
        brokers: vec![BrokerData { zone: Some("z1".into()), acting_master: true, ..BrokerData::default() }],
        filter_servers: [("10.0.0.2:1".to_owned(), vec!["f:1".to_owned()])].into(),
        mappings: [("b1".to_owned(), mapping)].into(),
        ..TopicRoute::default()
    };
    let bare = r#"{"brokerDatas":[{"brokerAddrs":{},"brokerName":"","cluster":"","enableActingMaster":true,"zoneName":"z1"}],"filterServerTable":{"10.0.0.2:1":["f:1"]},"queueDatas":[],"topicQueueMappingByBroker":{"b1":{"bname":"b1","currIdMap":{0:0,1:1},"dirty":false,"epoch":3,"scope":"__global__","topic":"A","totalQueues":4}}}"#;
    assert_eq!(String::from_utf8(route.encode(IntegerKeys::Bare)).unwrap(), bare);
    assert_eq!(TopicRoute::decode(bare.as_bytes()).unwrap(), route);
    assert_eq!(TopicRoute::decode(&route.encode(IntegerKeys::Quoted)).unwrap(), route);
}

#[test]
fn clusters_come_back() {
    let info = ClusterInfo::of([broker(), BrokerData { broker_name: "broker-b".into(), ..broker() }]);
    assert_eq!(info.clusters["DefaultCluster"].len(), 2);
    for keys in [IntegerKeys::Bare, IntegerKeys::Quoted] {
        assert_eq!(ClusterInfo::decode(&info.encode(keys)).unwrap(), info);
    }
}

#[test]
fn lists_look_like_rocketmq_5_5() {
    assert_eq!(consumers::encode(["a", "b"]), br#"{"consumerIdList":["a","b"]}"#);
    assert_eq!(topics::encode([]), br#"{"topicList":[]}"#);
    let queue = MessageQueue { broker_name: "b".into(), queue_id: 3, topic: "t".into() };
    assert_eq!(locks::encode([&queue]), br#"{"lockOKMQSet":[{"brokerName":"b","queueId":3,"topic":"t"}]}"#);
    assert_eq!(locks::decode(&locks::encode([&queue, &queue])).unwrap(), [queue.clone(), queue]);
    assert_eq!(topics::decode(br#"{"brokerAddr":null,"topicList":["t"]}"#).unwrap(), ["t"]);
    assert!(consumers::decode(b"").is_err());
}

#[test]
fn assignments_look_like_rocketmq_5_5() {
    let queue = MessageQueue { broker_name: "b".into(), queue_id: -1, topic: "t".into() };
    let body = assignment::encode(Some(std::slice::from_ref(&queue)), RequestMode::Pop);
    let expected = r#"{"messageQueueAssignments":[{"messageQueue":{"brokerName":"b","queueId":-1,"topic":"t"},"mode":"POP"}]}"#;
    assert_eq!(String::from_utf8(body.clone()).unwrap(), expected);
    assert_eq!(assignment::decode(&body).unwrap(), Some(vec![(queue, RequestMode::Pop)]));
    assert_eq!(assignment::encode(None, RequestMode::Pull), b"{}");
    assert_eq!(assignment::decode(b"{}").unwrap(), None);

    let mode = |topic: &str, group: &str| SetMessageRequestMode {
        topic: topic.into(),
        consumer_group: group.into(),
        mode: RequestMode::Pop,
        pop_share_queue_num: -1,
    };
    let modes = [mode("t", "g"), mode("t", "h"), mode("u", "g")];
    let body = assignment::encode_modes(&modes);
    let start = r#"{"messageRequestModeMap":{"t":{"g":{"consumerGroup":"g","mode":"POP","popShareQueueNum":-1,"topic":"t"},"h":"#;
    assert!(String::from_utf8(body.clone()).unwrap().starts_with(start));
    assert_eq!(assignment::decode_modes(&body).unwrap(), modes);
    assert_eq!(assignment::encode_modes([]), br#"{"messageRequestModeMap":{}}"#);
}

#[test]
fn queues_as_keys_look_like_rocketmq_5_5() {
    use progress::{ConsumeStats, QueueProgress, QueueStats, TopicStats};
    let queue = |id| MessageQueue { broker_name: "b".into(), queue_id: id, topic: "t".into() };
    let stats = TopicStats {
        offset_table: [
            (queue(0), QueueStats { last_update: 9, max_offset: 1, min_offset: 0 }),
            (queue(1), QueueStats::default()),
        ]
        .into(),
        topic_put_tps: 0.0,
    };
    let text = r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"t"}:{"lastUpdateTimestamp":9,"maxOffset":1,"minOffset":0},{"brokerName":"b","queueId":1,"topic":"t"}:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0}},"topicPutTps":0.0}"#;
    assert_eq!(String::from_utf8(stats.encode()).unwrap(), text);
    assert_eq!(TopicStats::decode(text.as_bytes()).unwrap(), stats);
    let progress = QueueProgress { broker_offset: 5, consumer_offset: 2, last_timestamp: 7, pull_offset: 3 };
    let consumed = ConsumeStats { consume_tps: 1.5, offset_table: [(queue(3), progress)].into() };
    assert_eq!(ConsumeStats::decode(&consumed.encode()).unwrap(), consumed);
    assert_eq!((consumed.diff(), consumed.in_flight()), (3, 1));
    let offsets = [(queue(0), 4), (queue(1), -1)].into();
    assert_eq!(progress::decode_offsets(&progress::encode_offsets(&offsets)).unwrap(), offsets);
    let status =
        br#"{"consumerTable":{},"messageQueueTable":{{"brokerName":"b","queueId":3,"topic":"t"}:8}}"#;
    assert_eq!(progress::decode_client_status(status).unwrap(), [(queue(3), 8)].into());
    let committed = [(("t".to_owned(), "g".to_owned()), [(0, 1), (2, 5)].into())].into();
    let version = DataVersion { counter: 2, state_version: 0, timestamp: 3 };
    let all = r#"{"dataVersion":{"counter":2,"stateVersion":0,"timestamp":3},"groupTopicMap":{"g":["t"]},"offsetTable":{"t@g":{0:1,2:5}},"pullOffsetTable":{}}"#;
    assert_eq!(String::from_utf8(progress::encode_all_offsets(version, &committed)).unwrap(), all);
    let mut committed = committed;
    committed.insert(("%LMQ%a".to_owned(), "%LMQ%g".to_owned()), BTreeMap::from([(0, 7)]));
    let with_light = progress::encode_all_offsets(version, &committed);
    assert!(
        String::from_utf8_lossy(&with_light)
            .contains(r#""lmqOffsetTable":{"%LMQ%a@%LMQ%g":7},"offsetTable":"#)
    );
    assert_eq!(progress::decode_all_offsets(&with_light).unwrap(), committed);
    assert_eq!(read_version(&version_text(version)), Some(version));
}

#[test]
fn settings_look_like_rocketmq_5_5() {
    use halley_model::{GroupConfig, GroupName, TopicConfig, TopicName};
    let topic = TopicConfig::new(TopicName::new("T1").unwrap(), 2);
    let body = topic_config::TopicConfigBody::from(&topic);
    let text = r#"{"attributes":{},"order":false,"perm":6,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"T1","topicSysFlag":0,"writeQueueNums":2}"#;
    assert_eq!(String::from_utf8(body.encode()).unwrap(), text);
    assert_eq!(topic_config::TopicConfigBody::decode(text.as_bytes()).unwrap().settings().unwrap(), topic);
    let version = DataVersion { counter: 4, ..DataVersion::default() };
    let all = topic_config::AllTopicConfigs::new(version, [&topic]);
    assert_eq!(topic_config::AllTopicConfigs::decode(&all.encode()).unwrap(), all);
    let group = GroupConfig::new(GroupName::new("G").unwrap());
    let body = group_config::GroupConfigBody::from(&group);
    let text = r#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"consumeEnable":true,"consumeFromMinEnable":true,"consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"G","groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,"notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#;
    assert_eq!(String::from_utf8(body.encode()).unwrap(), text);
    assert_eq!(group_config::GroupConfigBody::decode(text.as_bytes()).unwrap().settings().unwrap(), group);
    let policy = br#"{"groupName":"G","groupRetryPolicy":{"type":"EXPONENTIAL","exponentialRetryPolicy":{"initial":1000}}}"#;
    let exponential = group_config::GroupConfigBody::decode(policy).unwrap();
    let again = group_config::GroupConfigBody::from(&exponential.settings().unwrap());
    assert_eq!(again, group_config::GroupConfigBody::decode(&again.encode()).unwrap());
    assert!(String::from_utf8(again.encode()).unwrap().contains(r#""multiplier":2"#));
}

#[test]
fn index_entries_look_like_rocketmq_5_5() {
    let entry = consume_queue::QueueEntry { log_offset: 263, size: 263, tag: 3_552_231 };
    assert_eq!(
        consume_queue::encode(0, 5, Some("g@QT is not online!"), &[entry]),
        br#"{"filterData":"g@QT is not online!","maxQueueIndex":5,"minQueueIndex":0,"queueData":[{"eval":false,"physicOffset":263,"physicSize":263,"tagsCode":3552231}]}"#
    );
    assert_eq!(
        consume_queue::encode(0, 5, None, &[]),
        br#"{"maxQueueIndex":5,"minQueueIndex":0,"queueData":[]}"#
    );
}

proptest! {
    #[test]
    fn names_of_any_kind_come_back(names in proptest::collection::vec("(?s).{0,10}", 0..5)) {
        let encoded = consumers::encode(names.iter().map(String::as_str));
        prop_assert_eq!(consumers::decode(&encoded).unwrap(), names);
    }

    #[test]
    fn any_body_is_survived(body in "[{}\\[\\]\":,a-z0-9]{0,60}") {
        let _ = TopicRoute::decode(body.as_bytes());
        let _ = ClusterInfo::decode(body.as_bytes());
    }
}
