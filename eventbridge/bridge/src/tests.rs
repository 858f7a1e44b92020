//! The bridge between a broker in memory and sinks that do as they are told; time jumps to where something happens.

use super::*;
use crate::tests::fake::{Memory, Told};
use halley_backend::Commit;
use halley_connector_api::Verdict;
use halley_model::RecordView;
use std::collections::BTreeSet;
use tokio::time::sleep;

pub(crate) mod fake;

const RULE: &str = "
targets:
  billing: {http: {url: 'http://billing.local'}, limits: {maxInflight: 4}}
rules:
  - {name: paid, from: {bus: default}, when: [{exact: {type: paid}}], to: billing}
";

/// A rule that orders by subject and tries twice.
const ORDERED: &str = "
targets:
  billing: {http: {url: 'http://billing.local'}}
rules:
  - name: paid
    from: {bus: default}
    to: billing
    delivery: {order: 'key:subject', retry: {maxAttempts: 2, backoff: {initial: 1s, jitter: none}}}
";

fn config(text: &str) -> Config {
    halley_rules::load(text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn memory(queues: usize) -> Arc<Memory> {
    let memory = Memory::default();
    memory.make_topic("BUS_default", queues);
    Arc::new(memory)
}

async fn start(memory: &Arc<Memory>, text: &str, sink: &Told) -> Bridge {
    Bridge::start(memory.clone(), &config(text), |_, _| sink.clone()).await.unwrap()
}

fn willing() -> Told {
    Told::new(Duration::from_millis(1), |_, _| Verdict::Delivered)
}

fn busy() -> Verdict {
    Verdict::Retry { reason: "busy".to_owned(), retry_after: None }
}

const DRAIN: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn matching_events_after_the_start_are_delivered_once() {
    let (memory, sink) = (memory(2), willing());
    memory.post(0, "paid", "before");
    let bridge = start(&memory, RULE, &sink).await;
    assert_eq!(memory.commit_of("paid", 0).unwrap().offset, 1, "the beginning is remembered at once");
    memory.post(0, "paid", "a");
    memory.post(1, "lost", "b");
    memory.post(1, "paid", "c");
    sink.wait_delivered(2).await;
    bridge.stop(DRAIN).await;
    assert_eq!(
        sink.delivered().into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from(["a", "c"].map(String::from))
    );
    assert_eq!(sink.begun().len(), 2);
    assert_eq!(memory.commit_of("paid", 0).unwrap().offset, 2);
    assert_eq!(memory.commit_of("paid", 1).unwrap().offset, 2);
}

#[tokio::test(start_paused = true)]
async fn what_came_while_it_was_down_is_delivered_and_nothing_twice() {
    let (memory, sink) = (memory(1), willing());
    start(&memory, RULE, &sink).await.stop(DRAIN).await;
    memory.post(0, "paid", "a");
    let bridge = start(&memory, RULE, &sink).await;
    sink.wait_delivered(1).await;
    bridge.stop(DRAIN).await;
    memory.post(0, "paid", "b");
    let bridge = start(&memory, RULE, &sink).await;
    sink.wait_delivered(2).await;
    bridge.stop(DRAIN).await;
    assert_eq!(sink.begun(), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_killed_process_loses_nothing() {
    let (memory, sink) = (memory(1), Told::new(Duration::from_millis(30), |_, _| Verdict::Delivered));
    let _killed = start(&memory, RULE, &sink).await;
    for id in 0..200 {
        memory.post(0, "paid", &id.to_string());
    }
    sink.wait_delivered(90).await;
    let (after, second) = (memory.after_kill(), willing());
    let before: BTreeSet<_> = sink.delivered().into_iter().collect();
    let bridge = start(&after, RULE, &second).await;
    while after.commit_of("paid", 0).unwrap().offset < 200 {
        sleep(Duration::from_millis(100)).await;
    }
    bridge.stop(DRAIN).await;
    let all: BTreeSet<_> = second.delivered().into_iter().chain(before.iter().cloned()).collect();
    assert_eq!(all.len(), 200);
    let again = second.delivered().iter().filter(|id| before.contains(*id)).count();
    assert!(again < 60, "what was committed is not delivered again: {again} were");
    assert_eq!(after.commit_of("paid", 0).unwrap(), Commit { offset: 200, metadata: String::new() });
}

#[tokio::test(start_paused = true)]
async fn a_retry_does_not_block_others_and_goes_on_counting_after_a_restart() {
    let down = |id: &str, attempt| if id == "slow" && attempt < 4 { busy() } else { Verdict::Delivered };
    let (memory, sink) = (memory(1), Told::new(Duration::from_millis(1), down));
    let bridge = start(&memory, RULE, &sink).await;
    memory.post(0, "paid", "slow");
    for id in 0..20 {
        memory.post(0, "paid", &id.to_string());
    }
    sink.wait_delivered(20).await;
    let attempts =
        |sink: &Told| sink.begun().iter().filter(|(id, _)| id == "slow").map(|(_, n)| *n).collect::<Vec<_>>();
    bridge.stop(DRAIN).await;
    let tried = attempts(&sink).len();
    let commit = memory.commit_of("paid", 0).unwrap();
    assert_eq!(commit.offset, 0, "the open event holds the group's offset");
    assert!(commit.metadata.contains(r#""next":21"#), "{}", commit.metadata);

    let bridge = start(&memory, RULE, &sink).await;
    sink.wait_delivered(21).await;
    bridge.stop(DRAIN).await;
    assert!(tried < 4, "stopped in the middle");
    assert_eq!(attempts(&sink), [1, 2, 3, 4]);
    assert_eq!(sink.begun().len(), 24, "finished events are not delivered again");
    assert_eq!(memory.commit_of("paid", 0).unwrap().offset, 21);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_allowed_are_in_flight() {
    let (memory, sink) = (memory(3), Told::new(Duration::from_millis(10), |_, _| Verdict::Delivered));
    let bridge = start(&memory, RULE, &sink).await;
    for id in 0..60 {
        memory.post(id % 3, "paid", &id.to_string());
    }
    sink.wait_delivered(60).await;
    bridge.stop(DRAIN).await;
    assert_eq!(sink.running_max(), 4);
}

#[tokio::test(start_paused = true)]
async fn events_of_a_key_stay_in_order() {
    let moody = |_: &str, attempt| if attempt == 1 { busy() } else { Verdict::Delivered };
    let (memory, sink) = (memory(1), Told::new(Duration::from_millis(1), moody));
    let bridge = start(&memory, ORDERED, &sink).await;
    for (id, subject) in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("a3", "a"), ("b2", "b")] {
        memory.post_with(0, &[("ce_specversion", "1.0"), ("ce_id", id), ("ce_subject", subject)]);
    }
    sink.wait_delivered(5).await;
    bridge.stop(DRAIN).await;
    for key in ["a", "b"] {
        let order: Vec<_> = sink.begun().into_iter().filter(|(id, _)| id.starts_with(key)).collect();
        let mut sorted = order.clone();
        sorted.sort();
        assert_eq!(order, sorted);
    }
    assert_eq!(sink.delivered()[..2], ["a1", "b1"], "one key does not wait for the other");
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_becomes_a_dead_letter() {
    let refusing = |id: &str, _| match id {
        "bad" => Verdict::Reject { reason: "answered 400".to_owned() },
        _ => busy(),
    };
    let (memory, sink) = (memory(1), Told::new(Duration::from_millis(1), refusing));
    let bridge = start(&memory, ORDERED, &sink).await;
    memory.fail_sends(3);
    memory.post(0, "paid", "bad");
    memory.post(0, "paid", "down");
    sink.wait_begun(3).await;
    while memory.records("%DLQ%billing").len() < 2 {
        sleep(Duration::from_millis(100)).await;
    }
    bridge.stop(DRAIN).await;
    let letters = memory.records("%DLQ%billing");
    let check = |id: &str, expected: [&str; 4]| {
        let of = |record: &&bytes::Bytes| RecordView::parse(record).unwrap().property("ce_id") == Some(id);
        let letter = RecordView::parse(letters.iter().find(of).unwrap()).unwrap();
        let names = ["ce_dlqreason", "ce_dlqattempts", "ce_dlqfirsterror", "ce_dlqtopic"];
        assert_eq!(names.map(|name| letter.property(name).unwrap()), expected);
        assert_eq!(letter.body(), b"data");
        assert_eq!(letter.property("ce_type"), Some("paid"));
    };
    check("bad", ["rejected", "1", "answered 400", "BUS_default"]);
    check("down", ["attempts-exhausted", "2", "busy", "BUS_default"]);
    assert_eq!(letters.len(), 2);
    assert_eq!(memory.commit_of("paid", 0).unwrap(), Commit { offset: 2, metadata: String::new() });
}

#[tokio::test(start_paused = true)]
async fn a_failing_log_is_read_again() {
    let (memory, sink) = (memory(1), willing());
    let bridge = start(&memory, RULE, &sink).await;
    memory.fail_pulls(5);
    memory.post(0, "paid", "a");
    sink.wait_delivered(1).await;
    bridge.stop(DRAIN).await;

    memory.fail_pulls(1);
    let failed = Bridge::start(memory.clone(), &config(RULE), |_, _| sink.clone()).await;
    assert!(matches!(failed, Err(StartError::Read(_))), "where a rule begins is never guessed");
}

#[tokio::test(start_paused = true)]
async fn queues_added_later_are_read_from_their_beginning() {
    let (memory, sink) = (memory(1), willing());
    let bridge = start(&memory, RULE, &sink).await;
    memory.make_topic("BUS_default", 2);
    memory.post(1, "paid", "a");
    sink.wait_delivered(1).await;
    bridge.stop(DRAIN).await;
    memory.make_topic("BUS_default", 3);
    memory.post(2, "paid", "b");
    let bridge = start(&memory, RULE, &sink).await;
    sink.wait_delivered(2).await;
    bridge.stop(DRAIN).await;
    assert_eq!(sink.delivered(), ["a", "b"]);
    assert_eq!(memory.commit_of("paid", 2).unwrap().offset, 1);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_left_the_log_ends_the_waiting() {
    let (memory, sink) = (memory(1), Told::new(Duration::from_millis(1), |_, _| busy()));
    let bridge = start(&memory, RULE, &sink).await;
    memory.post(0, "paid", "a");
    memory.post(0, "paid", "b");
    sink.wait_begun(2).await;
    memory.expire(0, 2);
    memory.post(0, "other", "c");
    while memory.commit_of("paid", 0).unwrap().offset < 3 {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(memory.records("%DLQ%billing").is_empty());
    let mut registry = Registry::default();
    bridge.metrics().register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains(r#"halley_events_gone_total{rule="paid",target="billing"} 2"#), "{text}");
    assert!(text.contains(r#"halley_delivery_lag{rule="paid",target="billing"} 0"#), "{text}");
    bridge.stop(DRAIN).await;
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_what_runs_but_not_for_ever() {
    let (memory, sink) = (memory(1), Told::new(Duration::from_secs(1), |_, _| Verdict::Delivered));
    let bridge = start(&memory, RULE, &sink).await;
    memory.post(0, "paid", "a");
    sink.wait_begun(1).await;
    bridge.stop(DRAIN).await;
    assert_eq!(sink.delivered(), ["a"]);
    assert_eq!(memory.commit_of("paid", 0).unwrap().offset, 1);

    let stuck = Told::new(Duration::from_secs(3600), |_, _| Verdict::Delivered);
    let bridge = start(&memory, RULE, &stuck).await;
    memory.post(0, "paid", "b");
    stuck.wait_begun(1).await;
    let before = tokio::time::Instant::now();
    bridge.stop(DRAIN).await;
    assert_eq!(before.elapsed(), DRAIN);
    assert_eq!(memory.commit_of("paid", 0).unwrap().offset, 1, "the abandoned event is delivered again");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_bridge_ends_and_commits() {
    let (memory, sink) = (memory(1), willing());
    let bridge = start(&memory, RULE, &sink).await;
    memory.post(0, "paid", "a");
    sink.wait_delivered(1).await;
    drop(bridge);
    while Arc::strong_count(&memory) > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(memory.commit_of("paid", 0).unwrap().offset, 1);
}

#[tokio::test(start_paused = true)]
async fn a_reset_offset_counts() {
    let (memory, sink) = (memory(1), willing());
    let bridge = start(&memory, RULE, &sink).await;
    memory.post(0, "paid", "a");
    memory.post(0, "paid", "b");
    sink.wait_delivered(2).await;
    bridge.stop(DRAIN).await;
    // As RocketMQ's tools do: an offset without metadata; and one beyond the end, as of a topic made anew.
    for (offset, more) in [(1, 1), (77, 2)] {
        let before = sink.delivered().len();
        let group = GroupName::new("HALLEY-paid").unwrap();
        memory.commit(&group, &fake::topic("BUS_default"), 0, Commit { offset, metadata: String::new() });
        let bridge = start(&memory, RULE, &sink).await;
        sink.wait_delivered(before + more).await;
        bridge.stop(DRAIN).await;
        assert_eq!(sink.delivered().len(), before + more);
    }
}
