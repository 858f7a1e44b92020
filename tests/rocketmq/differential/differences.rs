//! Where Halley answers otherwise than RocketMQ 5.5.0: on purpose, or wrongly until it is built.
//!
//! In cases, paths and remarks a `*` at the end stands for any rest; in paths also for one member. A path means all that is
//! below it. A row without a difference fails the test, so that the tables cannot rot.

use super::compare::Difference;
use std::fmt;

/// A place at which the answers may differ, and why.
pub(crate) enum Row {
    /// In these cases, below this path.
    At(&'static str, &'static str, Reason),
    /// Wherever RocketMQ's remark is the first and Halley's the second, which tells the same in other words.
    Remark(&'static str, &'static str, Reason),
}

type Reason = &'static str;

use Row::{At, Remark};

/// These stay.
const BY_DESIGN: &[Row] = &[
    Remark("not set any response code", "", "what RocketMQ leaves in a reply before it knows the outcome"),
    Remark("Cannot invoke *", "the custom field *", "the text of Java's exception"),
    Remark("For input string: *", "the custom field *", "the text of Java's exception"),
    Remark("illegal fieldName *", "the body of the *", "fastjson's text"),
    Remark("Cannot invoke *", "the body of the *", "the text of Java's exception"),
    Remark("Cannot invoke *", "\"OTHER\" is not an expression type*", "the text of Java's exception"),
    Remark("Encountered *", "at byte *", "the SQL92 parser's text"),
    Remark("The specified topic: *", "the topic name *", "Halley says which letter, and how long"),
    Remark("request queueId[*", "request queueId[*", "RocketMQ prints the topic's settings"),
    Remark("the message is illegal, *", "the body has *", "Halley says how long"),
    Remark("the message is illegal, *", "the properties have *", "Halley says how long"),
    Remark(
        "The broker's consumer filter data is not exist!*",
        "The broker's consumer filter data is not exist!*",
        "Halley adds what is wrong with the expression",
    ),
    At("recall/in an hour", "ext.queueOffset", "as in delay"),
    At("transactions/is there", "body.*.preparedOffset", "a place in the log, of the half message"),
    At("topics/permission *", "", "a permission that means nothing is refused"),
    At("topics/no queues", "", "a topic without queues is refused"),
    At("topics/negative queues", "", "a topic without queues is refused"),
    At("send/first use with no queues", "", "a topic without queues is refused"),
    At("send/rmq_sys_", "", "RocketMQ lets any client make up system topics"),
    At("empty-body/*", "", "events without data are stored; RocketMQ fails with a null pointer"),
    At("batch/none", "", "MESSAGE_ILLEGAL says what is wrong; RocketMQ fails with a null pointer"),
    At(
        "batch/broken off",
        "",
        "MESSAGE_ILLEGAL says what is wrong; RocketMQ fails with an exception of the buffer",
    ),
    At("pull/one byte at most", "", "maxMsgBytes is obeyed; RocketMQ's default store ignores it"),
    At("lite-pull/one byte at most", "", "maxMsgBytes is obeyed; RocketMQ's default store ignores it"),
    At("pull/no bytes", "", "maxMsgBytes is obeyed; RocketMQ's default store ignores it"),
    At("lite-pull/no bytes", "", "maxMsgBytes is obeyed; RocketMQ's default store ignores it"),
    At("pull/SQL92 that is wrong", "", "refused; RocketMQ delivers everything"),
    At("lite-pull/SQL92 that is wrong", "", "refused; RocketMQ delivers everything"),
    At("pull/unknown expression type", "", "refused; RocketMQ delivers everything"),
    At("lite-pull/unknown expression type", "", "refused; RocketMQ delivers everything"),
    At("pull/what is committed now", "", "a negative offset never replaces one"),
    At("lite-pull/what is committed now", "", "a negative offset never replaces one"),
    At(
        "delay/*",
        "ext.queueOffset",
        "a message that waits has its offset among those that wait, which are stored otherwise",
    ),
    At(
        "transactions/half*",
        "ext.queueOffset",
        "as in delay; RocketMQ counts half messages of all transactions",
    ),
    At("delay/*", "ext.recallHandle", "RocketMQ rounds times to its wheel's seconds"),
    At("recall/in an hour", "ext.recallHandle", "RocketMQ rounds times to its wheel's seconds"),
    Remark("timer message illegal, *", "timer message illegal, *", "Halley takes delays of up to 40 days"),
    At("delay/no level", "", "a level that is no number is no delay; RocketMQ fails with an exception"),
    At("delay/all that were due are there", "", "see no level"),
    At(
        "recall/recall without recallHandle",
        "",
        "a request without a required field is refused with SYSTEM_ERROR",
    ),
    At("send-back/illegal group", "", "a name that no group can have is refused as such"),
    At(
        "transactions/commit what was rolled back",
        "",
        "what ended stays ended; RocketMQ delivers it until it has removed it",
    ),
    At("transactions/end without *", "", "see commit what was rolled back; a required field is required"),
    At("offsets/illegal group", "", "a name that no group can have is refused"),
    At("offsets/query without consumerGroup", "", "a request without a group is refused"),
    At("offsets/commit of an illegal group", "", "a name that no group can have is refused as such"),
    At("offsets/commit of a long group", "", "a name that no group can have is refused as such"),
    At(
        "offsets/commit a negative offset",
        "",
        "an offset that no queue has is refused; RocketMQ stores it, and then starts at 0",
    ),
    At("offsets/committed negatively", "", "see the commit"),
    At("offsets/commit to a negative queue", "", "a queue that cannot be is refused"),
    At("offsets/commit without *", "", "a request without a required field is refused with SYSTEM_ERROR"),
    At("offsets/min without topic", "remark", "RocketMQ has no remark"),
    At(
        "clients/an illegal group",
        "",
        "a name that no group can have is refused; RocketMQ ignores it silently",
    ),
    At("clients/leave without clientID", "", "a request without a client is refused"),
    At("locks/a negative queue", "", "a queue that cannot be is refused"),
    At("locks/empty object", "", "a request without a group is refused"),
    At("locks/empty object to unlock", "remark", "the text of Java's exception"),
    Remark("parseInt error, *", "the body of the *", "fastjson's text"),
    Remark("java.nio.BufferUnderflowException", "no message has the id *", "the text of Java's exception"),
    Remark("Cannot read the array length *", "no message has the id*", "the text of Java's exception"),
    Remark("Cannot invoke *", "No Any Consumer online *", "the text of Java's exception"),
    Remark("Cannot invoke *", "0@ is not exist!", "the text of Java's exception"),
    Remark("The Consumer <*", "The Consumer <*", "a field that is missing is empty and not \"null\""),
    Remark("java.nio.BufferUnderflowException", "the custom field *", "a required field is required"),
    Remark("The stats <*", "the custom field *", "a required field is required"),
    At("groups/no body", "", "a body that must be there is required; RocketMQ says that it was done"),
    At("groups/no list", "", "no list is an empty one; RocketMQ fails with a null pointer"),
    At("topic-lists/no list", "", "no list is an empty one; RocketMQ fails with a null pointer"),
    At("groups/forbidden without topic", "", "a required field is required"),
    At("consumption/time span without group", "", "a required field is required"),
    At("consumption/reset without *", "", "a required field is required"),
    At("consumption/corrections without compareGroup", "", "a required field is required"),
    At("consumption/clone without destGroup", "", "a required field is required"),
    At("queries/key without *", "", "a required field is required"),
    At(
        "topic-lists/route of what was deleted",
        "",
        "the broker tells the name server at once; RocketMQ leaves it to the tool to delete the route too",
    ),
    At(
        "consumption/*",
        "body.consumeTimeSpanSet.*.consumeTimeStampStr",
        "times are not told a second time as text of the server's zone, which no tool reads",
    ),
    At("consumption/*", "body.consumeTimeSpanSet.*.minTimeStampStr", "as consumeTimeStampStr"),
    At("consumption/*", "body.consumeTimeSpanSet.*.maxTimeStampStr", "as consumeTimeStampStr"),
    At(
        "consumption/the other clone",
        "",
        "without a topic all are cloned; RocketMQ goes through all, and then clones the topic that was not given",
    ),
    At("queries/*", "ext.indexLastUpdatePhyoffset", "a place in the log"),
    At("queries/*", "body.queueData.*.physicOffset", "a place in the log"),
    At("namesrv/topics", "body.topicList", "Halley has its default bus"),
];

/// These are to become the same.
const KNOWN: &[Row] = &[
    At(
        "transactions/is there",
        "body.*.properties.TRANSACTION_CHECK_TIMES",
        "RocketMQ stores it only where it checked",
    ),
    At("clients/a list", "", "a list is taken for an empty heartbeat"),
    At("check-client/no body", "", "no body is no subscription that could be wrong"),
];

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (At(place, what, reason) | Remark(place, what, reason)) = self;
        write!(f, "no longer different: {place:?} {what:?} ({reason})")
    }
}

impl Row {
    /// In words.
    pub(crate) fn place(&self) -> String {
        match self {
            At(case, "", _) => format!("`{case}`"),
            At(case, path, _) => format!("`{case}`: `{path}`"),
            Remark(oracle, "", _) => format!("remark `{oracle}` is none"),
            Remark(oracle, halley, _) => format!("remark `{oracle}` is `{halley}`"),
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        let (At(.., reason) | Remark(.., reason)) = self;
        reason
    }

    pub(crate) fn covers(&self, difference: &Difference) -> bool {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        match self {
            At(case, path, _) => is_like(&difference.case, case) && is_below(&difference.path, path),
            Remark(oracle, halley, _) => {
                difference.path == "remark"
                    && is_like(&text(&difference.oracle), oracle)
                    && is_like(&text(&difference.halley), halley)
            }
        }
    }
}

/// Whether the difference is wanted.
pub(crate) fn stays(row: &Row) -> bool {
    BY_DESIGN.iter().any(|wanted| std::ptr::eq(wanted, row))
}

pub(crate) fn rows() -> impl Iterator<Item = &'static Row> {
    BY_DESIGN.iter().chain(KNOWN)
}

/// The row that allows a difference.
pub(crate) fn row_of(difference: &Difference) -> Option<&'static Row> {
    rows().find(|row| row.covers(difference))
}

fn is_like(text: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => text == pattern,
    }
}

fn is_below(path: &str, pattern: &str) -> bool {
    if pattern.is_empty() {
        return true;
    }
    let mut members = path.split('.');
    pattern.split('.').all(|wanted| members.next().is_some_and(|member| is_like(member, wanted)))
}
