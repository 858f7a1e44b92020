//! Settings of the broker that can be changed while it runs (requests 25 and 26), and those that can only be looked at.

mod fixed;

pub(crate) use fixed::fixed;

use crate::{changes::Changes, retention::Written, state_writer::StateWriter};
use halley_machine::{
    compaction::FileSizes,
    pull,
    retention::{Policy, Watermarks},
    state::StateRecord,
    transactions::CheckPolicy,
};
use halley_model::{DataVersion, LogOffset, Permission};
use halley_store::StageError;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering},
    time::Duration,
};

/// Settings that nobody may change from outside (`AdminBrokerProcessor.initConfigBlackList`, 5.5).
const BLACK_LIST: [&str; 3] = ["brokerConfigPath", "rocketmqHome", "configBlackList"];

const HOUR_MS: i64 = 60 * 60 * 1000;

/// Settings that are on or off, in the order of [`FLAGS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    /// Topics are created on first use.
    AutoCreateTopics,
    /// Groups are created on first use.
    AutoCreateGroups,
    /// A topic may be for messages of all kinds.
    MixedTypes,
    /// The broker itself resets offsets; else it tells its clients to.
    ServerSideReset,
    /// A pull waits for messages as long as its client asks for; else as long as [`Number::ShortPollMs`] says.
    LongPolling,
    /// The highest queue of a topic with priorities is the most urgent.
    PriorityOrderAscending,
    /// Popped messages that nobody acknowledged are tried again in a queue like the one they came from.
    SeparateRetryQueues,
    /// Such messages go to `%RETRY%group+topic`.
    RetryTopicV2,
    /// Where they do, `%RETRY%group_topic` is popped from too.
    RetryTopicV1Popped,
    /// There are light queues, to be read like topics.
    LightQueues,
    /// Messages go into the light queues that they name.
    MultiDispatch,
    /// There are at most so many light queues as [`Number::LightQueuesMax`] says.
    LightQuota,
    /// On a disk that is too full the oldest messages go, however young they are.
    CleanForcibly,
}

/// Names and defaults (`BrokerConfig`, `MessageStoreConfig`, 5.5).
const FLAGS: [(Flag, &str, bool); 13] = [
    (Flag::AutoCreateTopics, "autoCreateTopicEnable", true),
    (Flag::AutoCreateGroups, "autoCreateSubscriptionGroup", true),
    (Flag::MixedTypes, "enableMixedMessageType", false),
    (Flag::ServerSideReset, "useServerSideResetOffset", true),
    (Flag::LongPolling, "longPollingEnable", true),
    (Flag::PriorityOrderAscending, "priorityOrderAsc", true),
    (Flag::SeparateRetryQueues, "useSeparateRetryQueue", false),
    (Flag::RetryTopicV2, "enableRetryTopicV2", false),
    (Flag::RetryTopicV1Popped, "retrieveMessageFromPopRetryTopicV1", true),
    (Flag::LightQueues, "enableLmq", false),
    (Flag::MultiDispatch, "enableMultiDispatch", false),
    (Flag::LightQuota, "enableLmqQuota", false),
    (Flag::CleanForcibly, "cleanFileForciblyEnable", true),
];

/// Settings that are numbers, in the order of [`NUMBERS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    /// Most messages in the answer to a pull.
    PullRecordsMax,
    /// How long a pull waits where [`Flag::LongPolling`] is off, in milliseconds.
    ShortPollMs,
    /// How long to wait after the first check of a transaction, in milliseconds; each further wait is twice as long.
    CheckIntervalMs,
    /// After so many checks a transaction is given up.
    ChecksMax,
    /// Of 100 pops so many look into the retry topic first.
    RetryFirstPercent,
    /// The same of pops that go by priority.
    RetryFirstPercentByPriority,
    /// Most light queues.
    LightQueuesMax,
    /// Most pairs of clients and lite topics.
    LiteSubscriptionsMax,
    /// Most lite topics with messages that a client is told of, where its group does not say.
    LiteEventsMax,
    /// How often it is looked for clients that do not fetch, in milliseconds.
    LiteScanMs,
    /// A client that did not repeat its subscriptions for so long is gone, in milliseconds.
    LiteClientTimeoutMs,
    /// A client that had too much to be told of is told of it so much later, in milliseconds.
    LiteFullAfterMs,
    /// The same of groups that want all lite topics.
    LiteWildcardFullAfterMs,
    /// How often it is looked for lite topics that end, in milliseconds.
    LiteExpiryMs,
    /// No lite topic ends before it was without messages for so long, in milliseconds.
    LiteTtlMinMs,
    /// Between two compactions, in milliseconds.
    CompactionMs,
    /// As much of a compaction topic's newest messages is not compacted, in bytes of the log.
    CompactionLogBytes,
    /// The same in bytes of RocketMQ's consume queue.
    CompactionIndexBytes,
    /// What a compaction may take of memory for keys, in bytes.
    OffsetMapBytes,
    /// Messages are kept for so many hours.
    ReservedHours,
    /// Above this part of the disk, in percent, what is too old goes whatever it costs.
    DiskCleanPercent,
    /// Above this part the oldest goes, however young it is.
    DiskForcedPercent,
    /// Above this part producers are refused.
    DiskRefusePercent,
}

/// More than this nobody can make of [`Number::PullRecordsMax`]: so many index entries a pull may have to look up.
const PULL_RECORDS_LIMIT: i64 = 16_384;

/// Names and defaults (`BrokerConfig`, `MessageStoreConfig`, 5.5), and the range.
const NUMBERS: [(Number, &str, i64, std::ops::RangeInclusive<i64>); 23] = [
    (
        Number::PullRecordsMax,
        "maxTransferCountOnMessageInMemory",
        pull::RECORDS_MAX as i64,
        1..=PULL_RECORDS_LIMIT,
    ),
    (Number::ShortPollMs, "shortPollingTimeMills", 1_000, 0..=60_000),
    (Number::CheckIntervalMs, "transactionCheckInterval", 30_000, 100..=i32::MAX as i64),
    (Number::ChecksMax, "transactionCheckMax", 15, 1..=1_000),
    (Number::RetryFirstPercent, "popFromRetryProbability", 20, 0..=100),
    (Number::RetryFirstPercentByPriority, "popFromRetryProbabilityForPriority", 0, 0..=100),
    (Number::LightQueuesMax, "maxLmqConsumeQueueNum", 20_000, 0..=i32::MAX as i64),
    (Number::LiteSubscriptionsMax, "maxLiteSubscriptionCount", 100_000, 0..=i32::MAX as i64),
    (Number::LiteEventsMax, "maxClientEventCount", 100, 1..=100_000),
    (Number::LiteScanMs, "liteEventCheckInterval", 10_000, 100..=i32::MAX as i64),
    (Number::LiteClientTimeoutMs, "liteSubscriptionCheckTimeoutMills", 180_000, 100..=i32::MAX as i64),
    (Number::LiteFullAfterMs, "liteEventFullDispatchDelayTime", 10_000, 50..=i32::MAX as i64),
    (
        Number::LiteWildcardFullAfterMs,
        "liteEventFullDispatchDelayTimeForWildcardGroup",
        10_000,
        50..=i32::MAX as i64,
    ),
    (Number::LiteExpiryMs, "liteTtlCheckInterval", 120_000, 100..=i32::MAX as i64),
    (Number::LiteTtlMinMs, "minLiteTTl", 900_000, 0..=i32::MAX as i64),
    (Number::CompactionMs, "compactionScheduleInternal", 900_000, 1..=i32::MAX as i64),
    (Number::CompactionLogBytes, "compactionMappedFileSize", 100 << 20, 1..=i32::MAX as i64),
    (Number::CompactionIndexBytes, "compactionCqMappedFileSize", 10 << 20, 1..=i32::MAX as i64),
    (Number::OffsetMapBytes, "maxOffsetMapSize", 100 << 20, 1..=i32::MAX as i64),
    (Number::ReservedHours, "fileReservedTime", 72, 1..=1_000_000),
    (Number::DiskCleanPercent, "diskMaxUsedSpaceRatio", 75, 10..=95),
    (Number::DiskForcedPercent, "diskSpaceCleanForciblyRatio", 85, 30..=100),
    (Number::DiskRefusePercent, "diskSpaceWarningLevelRatio", 90, 35..=100),
];

/// The broker's settings, under RocketMQ's names.
pub(crate) struct Settings {
    permission: AtomicU8,
    flags: [AtomicBool; FLAGS.len()],
    numbers: [AtomicI64; NUMBERS.len()],
    /// What was changed, held while a change is logged.
    changed: Mutex<BTreeMap<String, String>>,
    /// What of the log is kept, before anything was changed.
    retention: Policy,
    /// What cannot be changed.
    fixed: BTreeMap<&'static str, String>,
    changes: Changes,
    writer: StateWriter,
}

/// Why a setting was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingError {
    /// RocketMQ's text.
    #[error("Can not update config in black list.")]
    BlackListed,
    /// It exists, but is what it is.
    #[error("the setting {0} cannot be changed while the broker runs")]
    Fixed(String),
    /// Halley has no such setting.
    #[error("Halley has no setting {0}; request 26 (getBrokerConfig) lists those it has")]
    Unknown(String),
    /// Not a value for it.
    #[error("{value:?} is no value for {name}: expected {expected}")]
    Value {
        /// the setting
        name: String,
        /// the value given
        value: String,
        /// what it may be
        expected: &'static str,
    },
    /// The log did not take the change.
    #[error("{0}")]
    Stage(#[from] StageError),
}

impl Settings {
    /// The settings with what recovery found changed.
    pub(crate) fn new(
        fixed: BTreeMap<&'static str, String>,
        changed: BTreeMap<String, String>,
        retention: Policy,
        writer: StateWriter,
    ) -> Self {
        let settings = Self {
            retention,
            permission: AtomicU8::new(Permission::READ_WRITE.0),
            flags: FLAGS.map(|(_, _, default)| AtomicBool::new(default)),
            numbers: NUMBERS.map(|(_, _, default, _)| AtomicI64::new(default)),
            changed: Mutex::default(),
            fixed,
            changes: Changes::default(),
            writer,
        };
        let hours = retention.age.map_or(1_000_000, |age| (age.saturating_add(HOUR_MS - 1) / HOUR_MS).max(1));
        for (number, value) in [
            (Number::ReservedHours, hours),
            (Number::DiskCleanPercent, retention.disk.clean.into()),
            (Number::DiskForcedPercent, retention.disk.forced.into()),
            (Number::DiskRefusePercent, retention.disk.refuse.into()),
        ] {
            settings.numbers[number as usize].store(value, Ordering::Relaxed);
        }
        for (name, value) in &changed {
            // A setting that an older release had is skipped.
            if let Ok(change) = settings.check(name, value) {
                change.apply();
            }
        }
        *settings.changed.lock() = changed;
        settings
    }

    /// The broker's address, as remarks name it.
    pub(crate) fn address(&self) -> &str {
        self.fixed.get("brokerIP1").map_or("", String::as_str)
    }

    /// What clients may do with this broker at all (`brokerPermission`).
    pub(crate) fn permission(&self) -> Permission {
        Permission(self.permission.load(Ordering::Relaxed))
    }

    /// Whether topics are created on first use (`autoCreateTopicEnable`).
    pub(crate) fn auto_create_topics(&self) -> bool {
        self.is(Flag::AutoCreateTopics)
    }

    /// Whether groups are created on first use (`autoCreateSubscriptionGroup`).
    pub(crate) fn auto_create_groups(&self) -> bool {
        self.is(Flag::AutoCreateGroups)
    }

    /// Whether a topic may be for messages of all kinds (`enableMixedMessageType`).
    pub(crate) fn mixed_types(&self) -> bool {
        self.is(Flag::MixedTypes)
    }

    /// Whether the broker itself resets offsets, or tells its clients to (`useServerSideResetOffset`).
    pub(crate) fn server_side_reset(&self) -> bool {
        self.is(Flag::ServerSideReset)
    }

    /// Whether it is on.
    pub(crate) fn is(&self, flag: Flag) -> bool {
        self.flags[flag as usize].load(Ordering::Relaxed)
    }

    /// The setting's value.
    pub(crate) fn number(&self, number: Number) -> i64 {
        self.numbers[number as usize].load(Ordering::Relaxed)
    }

    /// Most messages in the answer to a pull (`maxTransferCountOnMessageInMemory`).
    pub(crate) fn pull_records_max(&self) -> usize {
        usize::try_from(self.number(Number::PullRecordsMax)).unwrap_or(1)
    }

    /// How long a pull waits whose client would wait for `wanted` (`DefaultPullMessageResultHandler.handle`, 5.5).
    pub(crate) fn poll_time(&self, wanted: Duration) -> Duration {
        if self.is(Flag::LongPolling) {
            wanted
        } else {
            Duration::from_millis(self.number(Number::ShortPollMs).unsigned_abs())
        }
    }

    /// When producers are asked about open transactions (`transactionCheckInterval`, `transactionCheckMax`).
    pub(crate) fn check_policy(&self) -> CheckPolicy {
        let usual = CheckPolicy::default();
        let interval = self.number(Number::CheckIntervalMs);
        CheckPolicy {
            interval,
            interval_max: usual.interval_max.max(interval),
            times_max: u32::try_from(self.number(Number::ChecksMax)).unwrap_or(usual.times_max),
            ..usual
        }
    }

    /// How long to wait between two compactions (`compactionScheduleInternal`).
    pub(crate) fn compaction_interval(&self) -> Duration {
        Duration::from_millis(self.number(Number::CompactionMs).unsigned_abs())
    }

    /// Which messages of a compaction topic are too new to be compacted (`compactionMappedFileSize`,
    /// `compactionCqMappedFileSize`).
    pub(crate) fn compaction_files(&self) -> FileSizes {
        let [log, index] = [Number::CompactionLogBytes, Number::CompactionIndexBytes];
        FileSizes::new(self.number(log).unsigned_abs(), self.number(index).unsigned_abs())
    }

    /// What a compaction may take of memory for keys (`maxOffsetMapSize`).
    pub(crate) fn offset_map_bytes(&self) -> usize {
        usize::try_from(self.number(Number::OffsetMapBytes)).unwrap_or(usize::MAX)
    }

    /// What of the log is kept: what the configuration file says, but what was changed since.
    pub(crate) fn retention(&self) -> Policy {
        let hours = self.changed.lock().contains_key("fileReservedTime");
        let age = if hours { Some(self.number(Number::ReservedHours) * HOUR_MS) } else { self.retention.age };
        let percent = |number| u8::try_from(self.number(number)).unwrap_or(100);
        let disk = Watermarks {
            clean: percent(Number::DiskCleanPercent),
            forced: percent(Number::DiskForcedPercent),
            refuse: percent(Number::DiskRefusePercent),
        };
        Policy { age, size: self.retention.size, disk, force: self.is(Flag::CleanForcibly) }
    }

    /// Writes what was changed into the log once more.
    pub(crate) fn log_all(&self) -> Result<Written, StageError> {
        let changed = self.changed.lock();
        if changed.is_empty() {
            return Ok(Written::default());
        }
        self.writer.write_counted(&StateRecord::settings(changed.clone()))
    }

    /// Changes settings, all or none. The change is durable when the returned offset is acknowledged.
    pub(crate) fn change(&self, wanted: &BTreeMap<String, String>) -> Result<LogOffset, SettingError> {
        if wanted.keys().any(|name| BLACK_LIST.contains(&&**name)) {
            return Err(SettingError::BlackListed);
        }
        let checked: Result<Vec<_>, _> = wanted.iter().map(|(name, value)| self.check(name, value)).collect();
        let mut changed = self.changed.lock();
        let checked = checked?;
        if checked.is_empty() {
            return Ok(0);
        }
        let end = self.writer.write(&StateRecord::settings(wanted.clone()))?;
        for change in checked {
            change.apply();
        }
        changed.extend(wanted.clone());
        self.changes.count();
        Ok(end)
    }

    /// What was changed since the broker was first started.
    pub(crate) fn changed(&self) -> BTreeMap<String, String> {
        self.changed.lock().clone()
    }

    /// All settings as `name=value` lines, sorted.
    pub(crate) fn text(&self) -> String {
        let mut all: BTreeMap<&str, String> =
            self.fixed.iter().map(|(name, value)| (*name, value.clone())).collect();
        all.insert("brokerPermission", self.permission().0.to_string());
        all.extend(FLAGS.iter().map(|(flag, name, _)| (*name, self.is(*flag).to_string())));
        all.extend(NUMBERS.iter().map(|(number, name, ..)| (*name, self.number(*number).to_string())));
        all.into_iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }

    pub(crate) fn version(&self) -> DataVersion {
        self.changes.version()
    }

    fn check(&self, name: &str, value: &str) -> Result<Change<'_>, SettingError> {
        let wrong =
            |expected| SettingError::Value { name: name.to_owned(), value: value.to_owned(), expected };
        if name == "brokerPermission" {
            let permission = value.parse().ok().filter(|permission: &u8| matches!(permission, 2 | 4 | 6));
            let permission = permission.ok_or_else(|| wrong("2 (write), 4 (read) or 6 (both)"))?;
            return Ok(Change::Permission(&self.permission, permission));
        }
        if let Some((number, _, _, range)) = NUMBERS.iter().find(|(_, known, ..)| *known == name) {
            let value = value.parse().ok().filter(|value| range.contains(value));
            let value = value.ok_or_else(|| wrong("a number in its range"))?;
            return Ok(Change::Number(&self.numbers[*number as usize], value));
        }
        let flag = FLAGS.iter().find(|(_, known, _)| *known == name);
        match (flag, value) {
            (Some((flag, ..)), "true" | "false") => {
                Ok(Change::Flag(&self.flags[*flag as usize], value == "true"))
            }
            (Some(_), _) => Err(wrong("true or false")),
            (None, _) if self.fixed.contains_key(name) => Err(SettingError::Fixed(name.to_owned())),
            (None, _) => Err(SettingError::Unknown(name.to_owned())),
        }
    }
}

enum Change<'a> {
    Permission(&'a AtomicU8, u8),
    Flag(&'a AtomicBool, bool),
    Number(&'a AtomicI64, i64),
}

impl Change<'_> {
    fn apply(self) {
        match self {
            Self::Permission(setting, value) => setting.store(value, Ordering::Relaxed),
            Self::Flag(setting, value) => setting.store(value, Ordering::Relaxed),
            Self::Number(setting, value) => setting.store(value, Ordering::Relaxed),
        }
    }
}

/// Reads `name=value` lines as `java.util.Properties` does, without its escapes. `None` where that is not UTF-8.
pub(crate) fn parse_properties(body: &[u8]) -> Option<BTreeMap<String, String>> {
    let text = std::str::from_utf8(body).ok()?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    let pair = |line: &str| {
        let (name, value) = line.split_once(['=', ':']).unwrap_or((line, ""));
        (name.trim().to_owned(), value.trim().to_owned())
    };
    Some(lines.map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_lie_where_they_are_looked_for() {
        assert!(FLAGS.iter().enumerate().all(|(at, (flag, ..))| *flag as usize == at));
        assert!(NUMBERS.iter().enumerate().all(|(at, (number, ..))| *number as usize == at));
    }

    #[test]
    fn properties_are_lines() {
        let read = parse_properties(b"# a comment\na=1\n b : 2 \n\nc\n").unwrap();
        assert!(read.iter().map(|(name, value)| (&**name, &**value)).eq([("a", "1"), ("b", "2"), ("c", "")]));
        assert!(parse_properties(b"\xff").is_none());
    }
}
