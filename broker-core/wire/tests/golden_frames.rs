//! Frames that official clients sent to a real RocketMQ 5.5.0, and what it replied (`scripts/record-frames.py`), read by the
//! types that the broker and Halley's own client use.
//!
//! `testdata/CLIENT-REQUEST.bin` is a request, `testdata/CLIENT-REQUEST-reply.bin` its successful reply. The clients are Java 5.5.0
//! (`java5`), Java 4.9.8 (`java4`) and Go 2.1.2 (`go`); each produced to and consumed from a topic of its own, named `T` and the client.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files")]

use halley_wire::{
    BrokerCode, ClientCode, Frame, NamesrvCode, batch,
    body::{self, TopicRoute},
    frame::{self, Limits},
    language,
    reply::{OffsetResponse, PullMessageResponse, SendMessageResponse},
    request::{
        CheckClientConfig, ConsumerGroup, CreateTopic, GetMaxOffset, GetMinOffset, GetRouteInfo, Heartbeat,
        LockBatch, PullMessage, QueryConsumerOffset, SendForm, SendMessage, UnregisterClient,
        UpdateConsumerOffset,
    },
};
use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_recorded_frame_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        let (frame, used) = frame::decode(&bytes, &Limits::default()).unwrap().unwrap();
        assert_eq!(used, bytes.len(), "{name}");
        let (client, kind) = name.split_once('-').unwrap();
        match kind.strip_suffix("-reply") {
            Some(kind) => {
                assert!(frame.is_reply() && frame.code == 0, "{name}");
                check_reply(kind, &frame);
            }
            None => {
                assert!(!frame.is_reply(), "{name}");
                check_request(client, kind, &frame);
            }
        }
        seen.insert(name);
    }
    let wanted =
        ["send-batch", "heartbeat-consumer", "pull", "query-offset", "update-offset", "lock", "route"];
    for client in ["java5", "java4", "go"] {
        for kind in wanted {
            assert!(seen.contains(&format!("{client}-{kind}")), "{client}-{kind} is not recorded");
        }
    }
    for name in ["java5-send-v2", "java4-send-v2", "go-send", "java5-unregister", "java4-unregister"] {
        assert!(seen.contains(name), "{name} is not recorded");
    }
}

fn check_request(client: &str, kind: &str, frame: &Frame<'_>) {
    let (topic, ext) = (format!("T{client}"), &frame.ext);
    // The groups of the consumers are named after what they do and the client.
    let is_group = |group: &str| group.len() == client.len() + 1 && group.ends_with(client);
    let from_server = kind == "consumers-changed";
    let expected = if client == "go" && !from_server { language::GO } else { language::JAVA };
    assert_eq!(frame.language, expected, "{client}-{kind}");
    let code = |code: BrokerCode| assert_eq!(BrokerCode::of(frame.code), code, "{client}-{kind}");
    match kind {
        "send" | "send-v2" | "send-batch" => {
            let code = BrokerCode::of(frame.code);
            let header = SendMessage::decode(SendForm::of(code).unwrap(), ext).unwrap();
            assert_eq!(header.topic, topic);
            assert_eq!(header.batch, kind == "send-batch");
            assert!(header.born_timestamp > 1_700_000_000_000, "{header:?}");
            let mut properties = Vec::new();
            header.properties.append_to(&mut properties);
            if header.batch {
                let messages: Vec<_> = batch::messages(frame.body).collect::<Result<_, _>>().unwrap();
                let bodies: Vec<_> = messages.iter().map(|message| message.body).collect();
                assert_eq!(bodies, [b"message-0", b"message-1", b"message-2"]);
            } else {
                assert_eq!(frame.body, b"message-0");
                assert!(String::from_utf8(properties).unwrap().contains("TAGS\x01a"));
            }
        }
        "pull" => {
            let header = PullMessage::decode(ext).unwrap();
            code(BrokerCode::PullMessage);
            assert!(is_group(&header.consumer_group), "{header:?}");
            assert!(header.suspend_timeout_millis > 0 && header.max_msg_nums == 32, "{header:?}");
        }
        "heartbeat" | "heartbeat-consumer" => {
            let heartbeat = Heartbeat::decode(frame.body).unwrap();
            code(BrokerCode::HeartBeat);
            assert!(heartbeat.client_id.contains('@'), "{heartbeat:?}");
            let consumers = heartbeat.consumers.iter().filter(|consumer| is_group(&consumer.group_name));
            let topics = consumers.flat_map(|consumer| &consumer.subscriptions);
            let is_consumer = kind == "heartbeat-consumer";
            assert_eq!(
                topics.filter(|of| of.topic == topic).count(),
                usize::from(is_consumer),
                "{heartbeat:?}"
            );
        }
        "unregister" => {
            let header = UnregisterClient::decode(ext).unwrap();
            code(BrokerCode::UnregisterClient);
            assert!(header.producer_group.is_some() || header.consumer_group.is_some(), "{header:?}");
        }
        "lock" | "unlock" => {
            let request = LockBatch::decode(frame.body).unwrap();
            code(if kind == "lock" { BrokerCode::LockBatchMq } else { BrokerCode::UnlockBatchMq });
            assert!(is_group(&request.consumer_group) && request.client_id.contains('@'), "{request:?}");
            assert!(!request.queues.is_empty(), "{request:?}");
            assert!(request.queues.iter().all(|queue| queue.broker_name == "broker-golden"), "{request:?}");
        }
        "query-offset" => {
            let header = QueryConsumerOffset::decode(ext).unwrap();
            code(BrokerCode::QueryConsumerOffset);
            assert!(is_group(&header.consumer_group), "{header:?}");
        }
        "update-offset" => {
            let header = UpdateConsumerOffset::decode(ext).unwrap();
            code(BrokerCode::UpdateConsumerOffset);
            assert!(is_group(&header.consumer_group) && header.commit_offset >= 0, "{header:?}");
        }
        "max-offset" => {
            code(BrokerCode::GetMaxOffset);
            GetMaxOffset::decode(ext).unwrap();
        }
        "min-offset" => {
            code(BrokerCode::GetMinOffset);
            GetMinOffset::decode(ext).unwrap();
        }
        "check-client" => {
            code(BrokerCode::CheckClientConfig);
            let subscription = CheckClientConfig::decode(frame.body).unwrap().subscription_data.unwrap();
            assert_eq!(subscription.expression_type.as_deref(), Some("SQL92"));
        }
        "consumer-list" => {
            code(BrokerCode::GetConsumerListByGroup);
            assert!(is_group(&ConsumerGroup::decode(ext).unwrap().consumer_group));
        }
        "create-topic" => {
            code(BrokerCode::UpdateAndCreateTopic);
            let header = CreateTopic::decode(ext).unwrap();
            assert_eq!((&*header.topic, header.read_queue_nums, header.perm), (&*topic, 2, 6));
        }
        "route" => {
            assert_eq!(NamesrvCode::of(frame.code), NamesrvCode::GetRouteInfoByTopic);
            assert!(!GetRouteInfo::decode(ext).unwrap().topic.is_empty());
        }
        "consumers-changed" => {
            assert_eq!(ClientCode::of(frame.code), ClientCode::NotifyConsumerIdsChanged);
            assert!(frame.is_oneway() && is_group(&ConsumerGroup::decode(ext).unwrap().consumer_group));
        }
        other => panic!("{client}-{other} has no check"),
    }
}

fn check_reply(kind: &str, frame: &Frame<'_>) {
    match kind {
        "send" | "send-v2" | "send-batch" => {
            let reply = SendMessageResponse::decode(&frame.ext).unwrap();
            let ids = reply.message_id.split(',').filter(|id| id.len() == 32).count();
            assert_eq!(ids, if kind == "send-batch" { 3 } else { 1 }, "{reply:?}");
        }
        "pull" => {
            let reply = PullMessageResponse::decode(&frame.ext).unwrap();
            assert!(reply.next_begin_offset <= reply.max_offset, "{reply:?}");
            halley_model::RecordView::parse(frame.body).unwrap();
        }
        "query-offset" | "max-offset" | "min-offset" => {
            OffsetResponse::decode(&frame.ext).unwrap();
        }
        "consumer-list" => assert_eq!(body::consumers::decode(frame.body).unwrap().len(), 1),
        "lock" => assert!(!body::locks::decode(frame.body).unwrap().is_empty()),
        "route" => {
            let route = TopicRoute::decode(frame.body).unwrap();
            assert_eq!(route.brokers[0].broker_name, "broker-golden");
        }
        "heartbeat" | "heartbeat-consumer" | "unregister" | "unlock" | "create-topic" | "check-client" => {
            assert!(frame.body.is_empty());
        }
        other => panic!("a reply to {other} has no check"),
    }
}
