use super::*;

/// As a broker of 4.9.8 writes it.
const OFFSETS_4_9: &[u8] = br#"{
	"offsetTable":{
		"orders@billing":{0:5,1:7
		},
		"%RETRY%billing@billing":{0:1
		}
	}
}"#;

/// As a broker of 5.5.0 writes it.
const OFFSETS_5_5: &[u8] = br#"{
	"dataVersion":{"counter":0,"stateVersion":0,"timestamp":1795838897738},
	"groupTopicMap":{"billing":["orders"]},
	"offsetTable":{
		"RMQ_SYS_TRANS_HALF_TOPIC@CID_RMQ_SYS_TRANS":{0:8},
		"orders@billing":{0:5,1:7,2:-1}
	},
	"pullOffsetTable":{"orders@billing":{0:5}}
}"#;

#[test]
fn offsets_of_both_releases() {
    let old = offsets(OFFSETS_4_9).unwrap();
    assert_eq!(old[&("orders".to_owned(), "billing".to_owned())], BTreeMap::from([(0, 5), (1, 7)]));
    assert_eq!(old.len(), 2);
    let new = offsets(OFFSETS_5_5).unwrap();
    let named: Vec<_> = new
        .iter()
        .flat_map(|((topic, group), queues)| {
            queues.iter().filter_map(|(queue, offset)| committed(topic, group, *queue, *offset))
        })
        .map(|(group, topic, queue, offset)| (group.to_string(), topic.to_string(), queue, offset))
        .collect();
    let expected =
        [(0, 5), (1, 7)].map(|(queue, offset)| ("billing".to_owned(), "orders".to_owned(), queue, offset));
    assert_eq!(named, expected, "neither RocketMQ's own groups nor offsets that are none");
    assert!(offsets(b"{").is_err());
}

#[test]
fn delay_levels_of_both_releases() {
    let expected = BTreeMap::from([(1, 2), (10, 0)]);
    assert_eq!(delays(b"{\n\t\"offsetTable\":{1:2,10:0\n\t}\n}").unwrap(), expected);
    let new = br#"{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":1795839176297},"offsetTable":{1:2,10:0}}"#;
    assert_eq!(delays(new).unwrap(), expected);
}

#[test]
fn topics_keep_their_settings() {
    let file = br#"{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":1},"topicConfigTable":{
        "orders":{"attributes":{"message.type":"FIFO"},"order":true,"perm":4,"readQueueNums":8,"topicFilterType":"SINGLE_TAG",
            "topicName":"orders","topicSysFlag":1,"writeQueueNums":4},
        "rmq_sys_wheel_timer":{"topicName":"rmq_sys_wheel_timer"},
        "SCHEDULE_TOPIC_XXXX":{"topicName":"SCHEDULE_TOPIC_XXXX","readQueueNums":18}}}"#;
    let read = topics(file).unwrap();
    let [orders] = &read[..] else { panic!("{read:?}") };
    assert_eq!((&*orders.name, orders.read_queues, orders.write_queues), ("orders", 8, 4));
    assert_eq!((orders.permission.0, orders.ordered, orders.system_flag), (4, true, 1));
    assert_eq!(orders.attributes["message.type"], "FIFO");
    // 4.9 has no attributes.
    let old = br#"{"dataVersion":{"counter":1,"timestamp":1},"topicConfigTable":{"t":{"order":false,"perm":6,"readQueueNums":2,
        "topicFilterType":"SINGLE_TAG","topicName":"t","topicSysFlag":0,"writeQueueNums":2}}}"#;
    assert_eq!(topics(old).unwrap()[0].write_queues, 2);
    assert!(topics(br#"{"topicConfigTable":{"a b":{"topicName":"a b"}}}"#).is_err());
}

#[test]
fn groups_keep_their_settings() {
    let file = br#"{"dataVersion":{"counter":1},"forbiddenTable":{"g":{"orders":4}},"subscriptionGroupTable":{
        "CID_RMQ_SYS_TRANS":{"groupName":"CID_RMQ_SYS_TRANS"},
        "g":{"brokerId":0,"consumeEnable":false,"groupName":"g","retryMaxTimes":3,"retryQueueNums":2,"whichBrokerWhenConsumeSlowly":1}}}"#;
    let (read, forbidden) = groups(file).unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!((read[0].consume_enable, read[0].retry_max_times, read[0].retry_queue_nums), (false, 3, 2));
    assert_eq!(forbidden[&GroupName::new("g").unwrap()]["orders"], 4);
}
