//! The requests, as scripts in the order of request codes. A case is a line: code, name, fields.

use super::{
    administration,
    script::{Case, Script, Step, ask, ask_namesrv, batch_of},
};
use std::time::Duration;

pub(crate) fn all() -> Vec<Script> {
    let script = |name, steps| Script { name, steps };
    vec![
        // First, while there are no topics but those that are always there.
        script("namesrv", namesrv()),
        script("topics", topics()),
        script("send", send()),
        script("empty-body", empty_body()),
        script("batch", batch()),
        script("inner-batch", inner_batch()),
        script("delay", delay()),
        script("recall", recall()),
        script("send-back", send_back()),
        script("transactions", transactions()),
        script("pull", pull()),
        script("lite-pull", lite_pull()),
        script("offsets", offsets()),
        script("search", search()),
        script("clients", clients()),
        script("subscriptions", subscriptions()),
        script("locks", locks()),
        script("check-client", check_client()),
        script("unknown", unknown()),
        script("brokers", super::brokers::steps()),
        script("groups", administration::groups()),
        script("topic-lists", administration::topics()),
        script("consumption", administration::consumption()),
        script("connections", administration::connections()),
        script("queries", administration::queries()),
        script("counters", administration::counters()),
    ]
}

const CREATE: &str = "topic={T}; defaultTopic=TBW102; readQueueNums=4; writeQueueNums=4; perm=6; topicFilterType=SINGLE_TAG; topicSysFlag=0; order=false";
pub(crate) const SEND: &str = "a={T}p; b={T}; c=TBW102; d=4; e=0; f=0; g=1700000000000; h=0; i=KEYS\x01k1\x02TAGS\x01a\x02; j=0; k=false; m=false";
const SEND_LONG: &str = "producerGroup={T}p; topic={T}; defaultTopic=TBW102; defaultTopicQueueNums=4; queueId=0; sysFlag=0; bornTimestamp=1700000000000; flag=7; properties=TAGS\x01b\x02; reconsumeTimes=0; unitMode=false; batch=false";
pub(crate) const PULL: &str = "consumerGroup={T}g; topic={T}; queueId=0; queueOffset=0; maxMsgNums=32; sysFlag=4; commitOffset=0; suspendTimeoutMillis=0; subscription=*; subVersion=0; expressionType=TAG";
/// A subscription to everything, see [`consumer`].
pub(crate) const ALL: &str =
    r#""subString":"*","tagsSet":[],"codeSet":[],"subVersion":1,"expressionType":"TAG""#;
const QUEUE: &str = "topic={T}; queueId=0";
const GROUP_QUEUE: &str = "consumerGroup={T}g; topic={T}; queueId=0";

pub(crate) fn create() -> Case {
    ask(17, "create", CREATE)
}

pub(crate) fn send_one(name: &str, tag: &str) -> Case {
    ask(310, name, SEND)
        .with(&format!("i=TAGS\x01{tag}\x02n\x01{}\x02UNIQ_KEY\x01{name}\x02", name.len()))
        .body(name)
}

/// 17.
fn topics() -> Vec<Step> {
    let other = |name: &str, fields: &str| ask(17, name, CREATE).with("topic={T}x").with(fields);
    let mut steps: Vec<Step> = vec![
        create().into(),
        ask(17, "again", CREATE).into(),
        ask(17, "more queues", CREATE).with("readQueueNums=8; writeQueueNums=8").into(),
        ask(17, "fewer queues", CREATE).with("readQueueNums=2; writeQueueNums=2").into(),
        ask_namesrv(105, "route after fewer", "topic={T}").into(),
        other("write only", "topic={T}w; perm=2").into(),
        other("read only", "topic={T}r; perm=4").into(),
        other("no permission at all", "topic={T}n; perm=0").into(),
        other("inherited permission", "topic={T}i; perm=7").into(),
        other("permission 8", "topic={T}e; perm=8").into(),
        other("permission 15", "topic={T}f; perm=15").into(),
        other("permission -1", "topic={T}m; perm=-1").into(),
        other("unequal queues", "topic={T}u; readQueueNums=2; writeQueueNums=6").into(),
        ask_namesrv(105, "route unequal", "topic={T}u").into(),
        ask(310, "send to a queue that cannot be written", SEND).with("b={T}u; e=6").body("x").into(),
        ask(310, "send to a queue that cannot be read", SEND).with("b={T}u; e=5").body("x").into(),
        other("no queues", "topic={T}z; readQueueNums=0; writeQueueNums=0").into(),
        other("negative queues", "topic={T}y; readQueueNums=-1; writeQueueNums=-1").into(),
        other("ordered", "topic={T}o; order=true").into(),
        other("system flag", "topic={T}s; topicSysFlag=3").into(),
        other("multi tag", "topic={T}mt; topicFilterType=MULTI_TAG").into(),
        other("unknown filter type", "topic={T}ft; topicFilterType=OTHER").into(),
        other("letters that are illegal", "topic={T} x").into(),
        other("a dollar", "topic={T}$x").into(),
        other("a percent sign", "topic={T}%x").into(),
        other("127 bytes", &format!("topic={}", "a".repeat(127))).into(),
        other("128 bytes", &format!("topic={}", "a".repeat(128))).into(),
        other("system topic", "topic=SCHEDULE_TOPIC_XXXX").into(),
        other("default topic", "topic=TBW102").into(),
        other("rmq_sys_", "topic=rmq_sys_x").into(),
        other("retry topic", "topic=%RETRY%{T}").into(),
        other("dead letter topic", "topic=%DLQ%{T}").into(),
        other("number that is none", "readQueueNums=x").into(),
        other("attributes", "topic={T}a; attributes=+message.type=NORMAL").into(),
        other("delete an attribute", "topic={T}a; attributes=-message.type").into(),
        other("unknown attribute", "topic={T}b; attributes=+unknown=1").into(),
        other("attribute's wrong value", "topic={T}b; attributes=+message.type=OTHER").into(),
    ];
    steps.extend(other("create", "").without_each_field());
    steps
}

/// 10 and 310.
fn send() -> Vec<Step> {
    let long = |name: &str, fields: &str| ask(10, name, SEND_LONG).with(fields).body("hello");
    let short = |name: &str, fields: &str| ask(310, name, SEND).with(fields).body("hello");
    let mut steps: Vec<Step> = vec![
        create().into(),
        ask(17, "create a read only topic", CREATE).with("topic={T}r; perm=4").into(),
        ask(17, "create a write only topic", CREATE).with("topic={T}w; perm=2").into(),
        long("long", "").into(),
        short("short", "").into(),
        short("unique key", "i=UNIQ_KEY\x017F0000010000000000000000\x02").into(),
        short("one-way", "").oneway().into(),
        // Nothing says when the oracle has handled it, but this, which is asked until it has settled.
        ask(30, "end after one-way", QUEUE).into(),
        short("after one-way", "").into(),
        short("no properties", "i=").into(),
        short("properties without end", "i=A\x01b").into(),
        short("properties that are none", "i=x").into(),
        short("queue 3", "e=3").into(),
        short("queue 4 of 4", "e=4").into(),
        short("queue 99", "e=99").into(),
        short("any queue of one", "b={T}1; c=TBW102; d=1; e=-1").into(),
        short("created on first use", "b={T}auto; d=2; e=1").into(),
        ask_namesrv(105, "route of it", "topic={T}auto").into(),
        short("first use with many queues", "b={T}many; d=64; e=7").into(),
        ask_namesrv(105, "route of many", "topic={T}many").into(),
        short("first use with no queues", "b={T}none; d=0; e=0").into(),
        short("first use by another pattern", "b={T}copy; c={T}; d=4").into(),
        short("first use by an unknown pattern", "b={T}unknown; c={T}pattern").into(),
        short("read only topic", "b={T}r").into(),
        short("write only topic", "b={T}w").into(),
        short("illegal letters", "b={T} x").into(),
        short("128 bytes", &format!("b={}", "b".repeat(128))).into(),
        short("schedule topic", "b=SCHEDULE_TOPIC_XXXX").into(),
        short("half topic", "b=RMQ_SYS_TRANS_HALF_TOPIC").into(),
        short("op half topic", "b=RMQ_SYS_TRANS_OP_HALF_TOPIC").into(),
        short("self test topic", "b=SELF_TEST_TOPIC").into(),
        short("offset moved event", "b=OFFSET_MOVED_EVENT").into(),
        short("the pattern topic itself", "b=TBW102; c=TBW102").into(),
        short("rmq_sys_", "b=rmq_sys_x").into(),
        short("reconsumed", "j=3").into(),
        short("to a retry topic", "b=%RETRY%{T}g; j=1; l=3").into(),
        short("flag", "h=-1").into(),
        short("system flag compressed", "f=1").into(),
        short("negative born time", "g=-1").into(),
        short("delay level 0", "i=DELAY\x010\x02").into(),
        short("number that is none", "e=x").into(),
        short("long number", "g=99999999999999999999").into(),
        short("unit mode", "k=true").into(),
        short("broker name", "n=broker-a").into(),
        short("large properties", &format!("i=A\x01{}\x02", "v".repeat(32_000))).into(),
        short("too large properties", &format!("i=A\x01{}\x02", "v".repeat(32_765))).into(),
        short("too large body", "").body(&"b".repeat(4 * 1024 * 1024 + 1)).into(),
        short("largest body", "").body(&"b".repeat(4 * 1024 * 1024)).into(),
    ];
    steps.extend(short("short", "").without_each_field());
    steps.extend(long("long", "").without_each_field());
    steps.extend([
        ask(30, "end of queue 0", QUEUE).into(),
        ask(11, "what was stored", PULL).with("maxMsgNums=8").into(),
        ask(11, "what was stored on", PULL).with("queueOffset=8; maxMsgNums=4").into(),
        ask(11, "what a retry topic holds", PULL).with("topic=%RETRY%{T}g").into(),
    ]);
    steps
}

/// A message without a body, on a topic of its own, as its offsets differ from then on.
fn empty_body() -> Vec<Step> {
    vec![create().into(), ask(310, "empty body", SEND).into()]
}

/// Batches that are one message to their producer.
fn inner_batch() -> Vec<Step> {
    let two = batch_of(&[("a", "UNIQ_KEY\x01u1\x02"), ("bb", "UNIQ_KEY\x01u2\x02")]);
    let send = |name: &str, properties: &str| {
        ask(320, name, SEND).with("m=true").with(&format!("i={properties}")).bytes(two.clone())
    };
    vec![
        create().with("attributes=+queue.type=BatchCQ").into(),
        ask(31, "where an empty queue begins", QUEUE).into(),
        send("one message", "UNIQ_KEY\x01outer\x02").into(),
        send("not without a unique key", "").into(),
        send_one("single", "a").into(),
        ask(30, "where the queue ends", QUEUE).into(),
        ask(31, "where the queue begins", QUEUE).into(),
    ]
}

/// 320, and 310 that says it is a batch.
fn batch() -> Vec<Step> {
    let one = |name: &str, fields: &str| ask(320, name, SEND).with("m=true").with(fields);
    let three = batch_of(&[("a", "KEYS\x01a\x02"), ("bb", ""), ("ccc", "TAGS\x01c\x02UNIQ_KEY\x01u\x02")]);
    let half = three[..three.len() - 3].to_vec();
    let mut steps: Vec<Step> = vec![
        create().into(),
        one("three", "").bytes(three.clone()).into(),
        one("one", "").bytes(batch_of(&[("x", "")])).into(),
        one("none", "").into(),
        one("broken off", "").bytes(half).into(),
        one("not marked as batch", "m=false").bytes(three.clone()).into(),
        ask(310, "with code 310", SEND).with("m=true").bytes(three.clone()).into(),
        ask(10, "with code 10", SEND_LONG).with("batch=true").bytes(three.clone()).into(),
        one("unique keys", "i=UNIQ_KEY\x01outer\x02").bytes(three.clone()).into(),
        one("to a retry topic", "b=%RETRY%{T}g").bytes(three.clone()).into(),
        one("bad queue", "e=4").bytes(three.clone()).into(),
        one("unknown topic", "b={T}auto").bytes(three.clone()).into(),
        one("one-way", "").bytes(three.clone()).oneway().into(),
        ask(30, "it is there", QUEUE).into(),
    ];
    steps.extend(one("batch", "").bytes(three).without_each_field());
    steps.push(ask(11, "what was stored", PULL).into());
    steps
}

/// Messages that wait before they are delivered.
fn delay() -> Vec<Step> {
    let send = |name: &str, properties: &str| {
        ask(310, name, SEND).with(&format!("i=UNIQ_KEY\x01{name}\x02{properties}")).body(name)
    };
    vec![
        create().into(),
        Step::Time("now"),
        send("level 1", "DELAY\x011\x02").into(),
        send("level 19", "DELAY\x0119\x02").into(),
        send("level -1", "DELAY\x01-1\x02").into(),
        send("no level", "DELAY\x01x\x02").into(),
        send("due in the past", "TIMER_DELIVER_MS\x011700000000000\x02").into(),
        send("due never", "TIMER_DELIVER_MS\x014000000000000\x02").into(),
        send("due now", "TIMER_DELIVER_MS\x01{now}\x02").into(),
        send("in a millisecond", "TIMER_DELAY_MS\x011\x02").into(),
        send("in a second", "TIMER_DELAY_SEC\x011\x02").into(),
        send("in no time", "TIMER_DELAY_SEC\x01x\x02").into(),
        // What comes from the wheel and what from the levels has no order between them.
        Step::Pause(Duration::from_secs(4)),
        ask(30, "all that were due are there", QUEUE).into(),
    ]
}

/// 370.
fn recall() -> Vec<Step> {
    const RECALL: &str = "producerGroup={T}p; topic={T}; recallHandle={m.recallHandle}";
    let recall = |name: &str, fields: &str| ask(370, name, RECALL).with(fields);
    let mut steps: Vec<Step> = vec![
        create().into(),
        ask(310, "in an hour", SEND)
            .with("i=UNIQ_KEY\x01u1\x02TIMER_DELAY_SEC\x013600\x02")
            .body("m")
            .keep("m")
            .into(),
        recall("recalled", "").into(),
        recall("recalled twice", "").into(),
        recall("unknown topic", "topic={T}unknown").into(),
        recall("another topic", "topic=TBW102").into(),
        recall("no handle", "recallHandle=x").into(),
        recall("no base64", "recallHandle=*").into(),
    ];
    steps.extend(recall("recall", "").without_each_field());
    steps
}

/// 36.
fn send_back() -> Vec<Step> {
    const BACK: &str = "offset={m.offset}; group={T}g; delayLevel=1; originMsgId={m.msgId}; originTopic={T}; unitMode=false; maxReconsumeTimes=16";
    let back = |name: &str, fields: &str| ask(36, name, BACK).with(fields);
    let mut steps: Vec<Step> = vec![
        create().into(),
        heartbeat("make the group", &consumer("c1", "{T}g", "CLUSTERING", ALL)),
        send_one("m", "a").keep("m").into(),
        back("after level 1", "").into(),
        ask(11, "comes back", PULL).with("topic=%RETRY%{T}g").into(),
        back("to the dead letters", "delayLevel=-1").into(),
        ask(11, "is a dead letter", PULL).with("topic=%DLQ%{T}g").into(),
        ask_namesrv(105, "the dead letters' route", "topic=%DLQ%{T}g").into(),
        back("no more attempts", "maxReconsumeTimes=0").into(),
        ask(11, "is another dead letter", PULL).with("topic=%DLQ%{T}g; queueOffset=1").into(),
        back("unknown group", "group={T}unknown").into(),
        back("illegal group", "group={T} x").into(),
        back("no such message", "offset=999999999").into(),
        back("negative offset", "offset=-1").into(),
    ];
    steps.extend(back("back", "").without_each_field());
    steps
}

/// 37.
fn transactions() -> Vec<Step> {
    const END: &str = "topic={T}; producerGroup={T}p; tranStateTableOffset={m.queueOffset}; commitLogOffset={m.offset}; commitOrRollback=8; fromTransactionCheck=false; msgId=u; transactionId=u";
    let half = |name: &str, unique: &str| {
        ask(310, name, SEND)
            .with(&format!("f=4; i=UNIQ_KEY\x01{unique}\x02TRAN_MSG\x01true\x02PGROUP\x01{{T}}p\x02"))
            .body(name)
    };
    let end = |name: &str, fields: &str| ask(37, name, END).with(fields);
    let mut steps: Vec<Step> = vec![
        create().into(),
        half("half", "u").keep("m").into(),
        ask(30, "not to be seen", QUEUE).into(),
        // RocketMQ never answers these; clients end transactions one-way.
        end("no decision", "commitOrRollback=0").oneway().into(),
        end("a decision that is none", "commitOrRollback=5").oneway().into(),
        end("another group", "producerGroup={T}other").into(),
        end("another offset", "tranStateTableOffset=999").into(),
        end("no such message", "commitLogOffset=999999999").into(),
        end("commit", "").into(),
        ask(11, "is there", PULL).into(),
        half("half to roll back", "v").keep("m").into(),
        end("roll back", "commitOrRollback=12; msgId=v; transactionId=v").into(),
        ask(30, "was not delivered", QUEUE).into(),
        end("commit what was rolled back", "msgId=v; transactionId=v").into(),
        half("half with a delay", "w")
            .with("i=TRAN_MSG\x01true\x02PGROUP\x01{T}p\x02DELAY\x011\x02UNIQ_KEY\x01w\x02")
            .into(),
    ];
    steps.extend(end("end", "").without_each_field());
    steps
}

/// 11.
fn pull() -> Vec<Step> {
    pulls(11)
}

/// 361.
fn lite_pull() -> Vec<Step> {
    let mut steps = pulls(361);
    steps.push(ask(361, "with the flag", PULL).with("sysFlag=20").into());
    steps
}

fn pulls(code: i32) -> Vec<Step> {
    let pull = |name: &str, fields: &str| ask(code, name, PULL).with(fields);
    let mut steps: Vec<Step> = vec![create().into()];
    for (name, tag) in [("m", "a"), ("mm", "b"), ("mmm", "a"), ("mmmm", "c")] {
        steps.push(send_one(name, tag).into());
    }
    steps.extend([
        ask(17, "create a write only topic", CREATE).with("topic={T}w; perm=2").into(),
        pull("all", "").into(),
        pull("one", "maxMsgNums=1").into(),
        pull("none at most", "maxMsgNums=0").into(),
        pull("negative number", "maxMsgNums=-1").into(),
        pull("more than ever", "maxMsgNums=2147483647").into(),
        pull("one byte at most", "maxMsgBytes=1").into(),
        pull("no bytes", "maxMsgBytes=0").into(),
        pull("from 2", "queueOffset=2").into(),
        pull("at the end", "queueOffset=4").into(),
        pull("past the end", "queueOffset=5").into(),
        pull("far past the end", "queueOffset=9000000000").into(),
        pull("before the beginning", "queueOffset=-1").into(),
        pull("empty queue", "queueId=1").into(),
        pull("empty queue from 5", "queueId=1; queueOffset=5").into(),
        pull("queue 4 of 4", "queueId=4").into(),
        pull("negative queue", "queueId=-1").into(),
        pull("unknown topic", "topic={T}unknown").into(),
        pull("illegal topic", "topic={T} x").into(),
        pull("write only topic", "topic={T}w").into(),
        pull("illegal group", "consumerGroup={T} x").into(),
        pull("long group", &format!("consumerGroup={}", "g".repeat(256))).into(),
        pull("one tag", "subscription=a").into(),
        pull("two tags", "subscription=a || c").into(),
        pull("a tag that none has", "subscription=z").into(),
        pull("empty subscription", "subscription=").into(),
        pull("only bars", "subscription=||").into(),
        pull("SQL92", "expressionType=SQL92; subscription=n > 2").into(),
        pull("SQL92 that none fulfils", "expressionType=SQL92; subscription=n > 99").into(),
        pull("SQL92 that is wrong", "expressionType=SQL92; subscription=n >").into(),
        pull("SQL92 that is empty", "expressionType=SQL92; subscription=").into(),
        pull("unknown expression type", "expressionType=OTHER; subscription=a").into(),
        pull("no expression type", "expressionType=; subscription=a").into(),
        pull("no such group", "sysFlag=0").into(),
        pull("commits", "sysFlag=5; commitOffset=3").into(),
        ask(14, "what it committed", GROUP_QUEUE).into(),
        pull("commits a negative offset", "sysFlag=5; commitOffset=-1").into(),
        ask(14, "what is committed now", GROUP_QUEUE).into(),
        pull("waits for a moment", "sysFlag=6; queueOffset=4; suspendTimeoutMillis=200").into(),
        pull("need not wait", "sysFlag=6; queueOffset=2; suspendTimeoutMillis=60000").into(),
        pull("number that is none", "queueOffset=x").into(),
    ]);
    steps.extend(pull("pull", "").without_each_field());
    steps
}

/// 14, 15, 30 and 31.
fn offsets() -> Vec<Step> {
    const COMMIT: &str = "consumerGroup={T}g; topic={T}; queueId=0; commitOffset=1";
    let mut steps: Vec<Step> = vec![
        create().into(),
        send_one("m", "a").into(),
        send_one("mm", "a").into(),
        ask(30, "max", QUEUE).into(),
        ask(31, "min", QUEUE).into(),
        ask(30, "max not committed", QUEUE).with("committed=false").into(),
        ask(30, "max of an empty queue", QUEUE).with("queueId=1").into(),
        ask(31, "min of an empty queue", QUEUE).with("queueId=1").into(),
        ask(30, "max of queue 4 of 4", QUEUE).with("queueId=4").into(),
        ask(31, "min of queue 4 of 4", QUEUE).with("queueId=4").into(),
        ask(30, "max of a negative queue", QUEUE).with("queueId=-1").into(),
        ask(31, "min of a negative queue", QUEUE).with("queueId=-1").into(),
        ask(30, "max of an unknown topic", QUEUE).with("topic={T}unknown").into(),
        ask(31, "min of an unknown topic", QUEUE).with("topic={T}unknown").into(),
        ask(30, "max of an illegal topic", QUEUE).with("topic={T} x").into(),
        ask(14, "unknown group of a queue with messages", GROUP_QUEUE).into(),
        ask(14, "unknown group of an empty queue", GROUP_QUEUE).with("queueId=1").into(),
        ask(14, "unknown group that wants no zero", GROUP_QUEUE).with("setZeroIfNotFound=false").into(),
        ask(14, "unknown group that wants a zero", GROUP_QUEUE).with("setZeroIfNotFound=true").into(),
        ask(14, "unknown topic", GROUP_QUEUE).with("topic={T}unknown").into(),
        ask(14, "negative queue", GROUP_QUEUE).with("queueId=-1").into(),
        ask(14, "queue 4 of 4", GROUP_QUEUE).with("queueId=4").into(),
        ask(14, "illegal group", GROUP_QUEUE).with("consumerGroup={T} x").into(),
        ask(15, "commit of a group that nobody made", COMMIT).with("consumerGroup={T}nobody").into(),
        ask(14, "committed by it", GROUP_QUEUE).with("consumerGroup={T}nobody").into(),
        heartbeat(
            "make the group",
            &consumer(
                "c1",
                "{T}g",
                "CLUSTERING",
                r#""subString":"*","tagsSet":[],"codeSet":[],"subVersion":1,"expressionType":"TAG""#,
            ),
        ),
        ask(15, "commit", COMMIT).into(),
        ask(14, "committed", GROUP_QUEUE).into(),
        ask(15, "commit less", COMMIT).with("commitOffset=0").into(),
        ask(14, "committed less", GROUP_QUEUE).into(),
        ask(15, "commit past the end", COMMIT).with("commitOffset=99").into(),
        ask(14, "committed past the end", GROUP_QUEUE).into(),
        ask(15, "commit a negative offset", COMMIT).with("commitOffset=-1").into(),
        ask(14, "committed negatively", GROUP_QUEUE).into(),
        ask(15, "commit one-way", COMMIT).with("commitOffset=2").oneway().into(),
        ask(14, "committed one-way", GROUP_QUEUE).into(),
        ask(15, "commit to an unknown topic", COMMIT).with("topic={T}unknown").into(),
        ask(15, "commit to queue 4 of 4", COMMIT).with("queueId=4").into(),
        ask(14, "committed to queue 4 of 4", GROUP_QUEUE).with("queueId=4").into(),
        ask(15, "commit to a negative queue", COMMIT).with("queueId=-1").into(),
        ask(15, "commit of an illegal group", COMMIT).with("consumerGroup={T} x").into(),
        ask(15, "commit of a long group", COMMIT).with(&format!("consumerGroup={}", "g".repeat(256))).into(),
    ];
    steps.extend(ask(14, "query", GROUP_QUEUE).without_each_field());
    steps.extend(ask(15, "commit", COMMIT).without_each_field());
    steps.extend(ask(30, "max", QUEUE).without_each_field());
    steps.extend(ask(31, "min", QUEUE).without_each_field());
    steps
}

/// 29.
fn search() -> Vec<Step> {
    const SEARCH: &str = "topic={T}; queueId=0; timestamp=0";
    let at = |name: &str, fields: &str| ask(29, name, SEARCH).with(fields);
    let mut steps: Vec<Step> = vec![
        create().into(),
        Step::Time("before"),
        send_one("m", "a").into(),
        Step::Time("first"),
        send_one("mm", "a").into(),
        send_one("mmm", "a").into(),
        Step::Time("last"),
        ask(11, "what is there", PULL).into(),
    ];
    for boundary in ["", "LOWER", "UPPER", "lower", "upper", "other"] {
        for time in
            ["{before}", "{first}", "{last}", "0", "-1", "9223372036854775807", "-9223372036854775808"]
        {
            steps.push(
                at(&format!("{time} {boundary}"), &format!("timestamp={time}; boundaryType={boundary}"))
                    .into(),
            );
        }
    }
    steps.extend([
        at("empty queue", "queueId=1; timestamp={last}").into(),
        at("empty queue upper", "queueId=1; timestamp={last}; boundaryType=UPPER").into(),
        at("queue 4 of 4", "queueId=4").into(),
        at("negative queue", "queueId=-1").into(),
        at("unknown topic", "topic={T}unknown").into(),
        at("illegal topic", "topic={T} x").into(),
        at("number that is none", "timestamp=x").into(),
    ]);
    steps.extend(at("search", "").without_each_field());
    steps
}

pub(crate) fn heartbeat(name: &str, body: &str) -> Step {
    ask(34, name, "").body(body).into()
}

/// A consumer that subscribes to `{T}`, with these members of its subscription.
pub(crate) fn consumer(client: &str, group: &str, model: &str, subscription: &str) -> String {
    format!(
        r#"{{"clientID":"{client}","producerDataSet":[],"consumerDataSet":[{{"groupName":"{group}","consumeType":"CONSUME_PASSIVELY","messageModel":"{model}","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","unitMode":false,"subscriptionDataSet":[{{"topic":"{{T}}","classFilterMode":false,{subscription}}}]}}]}}"#
    )
}

/// 34, 35 and 38.
fn clients() -> Vec<Step> {
    const LEAVE: &str = "clientID=c1; consumerGroup={T}g; producerGroup={T}p";
    let list = |name: &str, fields: &str| ask(38, name, "consumerGroup={T}g").with(fields);
    let mut steps: Vec<Step> = vec![
        create().into(),
        list("nobody", "").into(),
        heartbeat("a consumer", &consumer("c1", "{T}g", "CLUSTERING", ALL)),
        list("the consumer", "").into(),
        ask_namesrv(105, "its retry topic", "topic=%RETRY%{T}g").into(),
        ask(30, "its retry topic's end", "topic=%RETRY%{T}g; queueId=0").into(),
        heartbeat("again", &consumer("c1", "{T}g", "CLUSTERING", ALL)),
        heartbeat(
            "a producer",
            r#"{"clientID":"c1","producerDataSet":[{"groupName":"{T}p"}],"consumerDataSet":[]}"#,
        ),
        heartbeat("nothing at all", r#"{"clientID":"c1"}"#),
        heartbeat("no client", r#"{"producerDataSet":[{"groupName":"{T}p"}]}"#),
        heartbeat("an illegal group", &consumer("c1", "{T} x", "CLUSTERING", ALL)),
        list("the illegal group", "consumerGroup={T} x").into(),
        heartbeat("broadcasting", &consumer("c2", "{T}b", "BROADCASTING", ALL)),
        list("the broadcasting group", "consumerGroup={T}b").into(),
        heartbeat(
            "SQL92 that is wrong",
            &consumer(
                "c1",
                "{T}s",
                "CLUSTERING",
                r#""subString":"a >","subVersion":1,"expressionType":"SQL92""#,
            ),
        ),
        list("the group with wrong SQL92", "consumerGroup={T}s").into(),
        heartbeat("no JSON", "{"),
        heartbeat("no body", ""),
        heartbeat("a list", "[]"),
        list("an unknown group", "consumerGroup={T}unknown").into(),
        list("an illegal group", "consumerGroup=a b").into(),
        list("no group", "consumerGroup=").into(),
        ask(35, "leave an unknown group", LEAVE).with("consumerGroup={T}unknown").into(),
        ask(35, "leave as another client", LEAVE).with("clientID=other").into(),
        list("after another left", "").into(),
    ];
    steps.extend(ask(35, "leave", LEAVE).without_each_field());
    steps.extend([
        ask(35, "leave", LEAVE).into(),
        list("after leaving", "").into(),
        heartbeat("back", &consumer("c1", "{T}g", "CLUSTERING", ALL)),
        Step::Reconnect,
        list("after the connection was closed", "").into(),
    ]);
    steps
}

/// Pulls that rely on the subscription of a heartbeat.
fn subscriptions() -> Vec<Step> {
    let pull = |name: &str, fields: &str| ask(11, name, PULL).with("sysFlag=0; subscription=").with(fields);
    // Clients send what their expression means too: tags and their hashes, which are the letters' codes here.
    let tags = |text: &str, version| {
        let tags: Vec<_> = text.split(" || ").collect();
        let codes: Vec<_> = tags.iter().map(|tag| tag.as_bytes()[0]).collect();
        format!(
            r#""subString":"{text}","tagsSet":{tags:?},"codeSet":{codes:?},"subVersion":{version},"expressionType":"TAG""#
        )
    };
    let sql = |text: &str, version| {
        format!(
            r#""subString":"{text}","tagsSet":[],"codeSet":[],"subVersion":{version},"expressionType":"SQL92""#
        )
    };
    vec![
        create().into(),
        send_one("m", "a").into(),
        send_one("mm", "b").into(),
        pull("before any heartbeat", "").into(),
        heartbeat("tag a", &consumer("c1", "{T}g", "CLUSTERING", &tags("a", 2))),
        pull("of version 2", "subVersion=2").into(),
        pull("of an older version", "subVersion=1").into(),
        pull("of a newer version", "subVersion=3").into(),
        pull("another topic", "topic=%RETRY%{T}g").into(),
        pull("another group", "consumerGroup={T}other").into(),
        heartbeat("SQL92", &consumer("c1", "{T}g", "CLUSTERING", &sql("n = 2", 3))),
        pull("SQL92 of version 3", "subVersion=3; expressionType=SQL92").into(),
        heartbeat("wrong SQL92", &consumer("c1", "{T}g", "CLUSTERING", &sql("n =", 4))),
        pull("wrong SQL92", "subVersion=4; expressionType=SQL92").into(),
        heartbeat("an older version", &consumer("c1", "{T}g", "CLUSTERING", &tags("a", 1))),
        pull("after an older version", "subVersion=1").into(),
        heartbeat("classes of tags", &consumer("c1", "{T}g", "CLUSTERING", &tags("a || b", 5))),
        pull("two tags", "subVersion=5").into(),
    ]
}

/// 41 and 42.
fn locks() -> Vec<Step> {
    let body = |client: &str, queues: &[i32]| {
        let queues: Vec<_> = queues
            .iter()
            .map(|queue| format!(r#"{{"topic":"{{T}}","brokerName":"broker-a","queueId":{queue}}}"#))
            .collect();
        format!(r#"{{"consumerGroup":"{{T}}g","clientId":"{client}","mqSet":[{}]}}"#, queues.join(","))
    };
    let lock = |name, client, queues| Step::from(ask(41, name, "").body(&body(client, queues)));
    let unlock = |name, client, queues| Step::from(ask(42, name, "").body(&body(client, queues)));
    vec![
        create().into(),
        lock("two queues", "c1", &[0, 1]),
        lock("again", "c1", &[0, 1]),
        lock("by another", "c2", &[0, 1, 2]),
        lock("no queue", "c1", &[]),
        lock("an unknown queue", "c1", &[99]),
        lock("a negative queue", "c1", &[-1]),
        unlock("by another", "c2", &[0]),
        lock("still held", "c2", &[0]),
        unlock("by its holder", "c1", &[0]),
        lock("now free", "c2", &[0]),
        unlock("what nobody holds", "c1", &[3]),
        unlock("no queue", "c1", &[]),
        ask(41, "no body", "").into(),
        ask(42, "no body to unlock", "").into(),
        ask(41, "no JSON", "").body("{").into(),
        ask(41, "empty object", "").body("{}").into(),
        ask(42, "empty object to unlock", "").body("{}").into(),
        ask(41, "unknown topic", "").body(r#"{"consumerGroup":"{T}g","clientId":"c1","mqSet":[{"topic":"{T}unknown","brokerName":"broker-a","queueId":0}]}"#).into(),
        ask(41, "another broker's queue", "").body(r#"{"consumerGroup":"{T}g","clientId":"c1","mqSet":[{"topic":"{T}","brokerName":"other","queueId":3}]}"#).into(),
    ]
}

/// 46.
fn check_client() -> Vec<Step> {
    let check = |name, subscription: &str| {
        let body = format!(r#"{{"clientId":"c1","group":"{{T}}g","subscriptionData":{subscription}}}"#);
        Step::from(ask(46, name, "").body(&body))
    };
    vec![
        check("tags", r#"{"topic":"{T}","subString":"a || b","expressionType":"TAG"}"#),
        check("SQL92", r#"{"topic":"{T}","subString":"a > 1","expressionType":"SQL92"}"#),
        check("wrong SQL92", r#"{"topic":"{T}","subString":"a >","expressionType":"SQL92"}"#),
        check("empty SQL92", r#"{"topic":"{T}","subString":"","expressionType":"SQL92"}"#),
        check("unknown type", r#"{"topic":"{T}","subString":"a","expressionType":"OTHER"}"#),
        check("no type", r#"{"topic":"{T}","subString":"a"}"#),
        check("no subscription", "null"),
        ask(46, "no body", "").into(),
        ask(46, "no JSON", "").body("{").into(),
    ]
}

/// 105, 106 and 206.
fn namesrv() -> Vec<Step> {
    let route = |name: &str, fields: &str| ask_namesrv(105, name, "topic={T}").with(fields);
    vec![
        create().into(),
        route("route", "").into(),
        route("route in standard JSON", "acceptStandardJsonOnly=true").into(),
        route("route in any JSON", "acceptStandardJsonOnly=false").into(),
        route("unknown topic", "topic={T}unknown").into(),
        route("illegal topic", "topic={T} x").into(),
        route("empty topic", "topic=").into(),
        route("pattern topic", "topic=TBW102").into(),
        route("the cluster's name", "topic=DefaultCluster").into(),
        route("the broker's name", "topic=broker-a").into(),
        ask_namesrv(106, "clusters", "").into(),
        ask_namesrv(206, "topics", "").into(),
        ask_namesrv(9999, "unknown code", "").into(),
        ask_namesrv(310, "a broker's code", SEND).into(),
    ]
}

fn unknown() -> Vec<Step> {
    vec![
        ask(9999, "code", "").into(),
        ask(0, "code 0", "").into(),
        ask(-1, "code -1", "").into(),
        ask(105, "a name server's code", "topic=TBW102").into(),
        ask(40, "a client's code", "consumerGroup=g").into(),
    ]
}
