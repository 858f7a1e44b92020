use super::*;
use crate::request::MessageQueue;
use proptest::prelude::*;

fn broker() -> BrokerData {
    BrokerData {
        cluster: "DefaultCluster".into(),
        broker_name: "broker-a".into(),
        addresses: [(0, "127.0.0.1:10911".to_owned()), (1, "127.0.0.1:10921".to_owned())].into(),
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
