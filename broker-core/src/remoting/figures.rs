//! Figures and settings of the running broker: requests 25, 26, 28, 315 and 907.

use super::BrokerSession;
use crate::{
    answers::{Later, Refusal, answer_later, not_stored, succeed, succeed_when_acked},
    appends::Appends,
    catalog::Catalog,
    clock,
    identity::Identity,
    settings::{SettingError, Settings, parse_properties},
    stats::{Mornings, Stats},
};
use halley_machine::counters::Sum;
use halley_model::Millis;
use halley_store::{LogReader, disk::RealDisk};
use halley_wire::{
    Frame, ResponseCode,
    body::{
        self,
        figures::{CounterSum, CounterSums, KeyValues, Replication},
    },
    request::admin::ViewStats,
};
use std::{collections::BTreeMap, ops::ControlFlow, path::Path, sync::Arc};

/// What requests about figures use.
pub(super) struct Figures<'a> {
    pub(super) identity: &'a Identity,
    pub(super) appends: &'a Appends,
    pub(super) catalog: &'a Catalog,
    pub(super) reader: &'a LogReader<RealDisk>,
    pub(super) stats: &'a Arc<Stats>,
    pub(super) settings: &'a Settings,
    pub(super) data: &'a Arc<Path>,
}

impl Figures<'_> {
    /// 28.
    pub(super) fn runtime(&self, frame: &Frame<'_>, session: &BrokerSession) -> Result<(), Refusal> {
        let runtime = Runtime {
            stats: self.stats.clone(),
            reader: self.reader.clone(),
            data: self.data.clone(),
            log_end: self.appends.log.acked(),
            unsynced: self.appends.log.acked().saturating_sub(self.appends.log.durable()),
            staged: self.appends.log.staged_bytes(),
        };
        answer_later(frame, session, move || {
            let body = KeyValues { table: runtime.table() }.encode();
            Ok(Later { body, ..Later::default() })
        });
        Ok(())
    }

    /// 315.
    pub(super) fn counter(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let ViewStats { stats_name, stats_key } = ViewStats::decode(&frame.ext)?;
        let Some(sums) = self.stats.sums(&stats_name, &stats_key, &self.identity.cluster) else {
            let remark = format!("The stats <{stats_name}> <{stats_key}> not exist");
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        };
        let told = |sum: Sum| CounterSum { avgpt: sum.per_time, sum: sum.sum as i64, tps: sum.per_second };
        let [stats_minute, stats_hour, stats_day] = sums.map(told);
        succeed(frame, session, &[], &CounterSums { stats_day, stats_hour, stats_minute }.encode());
        Ok(())
    }

    /// 26.
    pub(super) fn settings(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        let version = body::version_text(self.settings.version());
        let fields = [("version", version.as_str().into())];
        succeed(frame, session, &fields, self.settings.text().as_bytes());
        Ok(())
    }

    /// 25: RocketMQ ignores what it does not know; Halley refuses it, and changes nothing.
    pub(super) fn change_settings(
        &self,
        frame: &Frame<'_>,
        session: &mut BrokerSession,
    ) -> Result<(), Refusal> {
        let Some(wanted) = parse_properties(frame.body) else {
            return Err(Refusal::new(ResponseCode::SystemError, "string2Properties error"));
        };
        let end = self.settings.change(&wanted).map_err(|error| match error {
            SettingError::BlackListed => Refusal::new(ResponseCode::NoPermission, error.to_string()),
            SettingError::Stage(error) => not_stored(error),
            SettingError::Fixed(_) | SettingError::Unknown(_) | SettingError::Value { .. } => {
                Refusal::new(ResponseCode::InvalidParameter, error.to_string())
            }
        })?;
        if wanted.contains_key("brokerPermission") {
            self.catalog.announce();
        }
        succeed_when_acked(frame, session, end, self.appends.acks.acked(), b"");
        Ok(())
    }

    /// 907.
    pub(super) fn replication(&self, frame: &Frame<'_>, session: &mut BrokerSession) -> Result<(), Refusal> {
        succeed(frame, session, &[], &Replication::alone(self.appends.log.acked()).encode());
        Ok(())
    }
}

/// What the table of figures is made of.
struct Runtime {
    stats: Arc<Stats>,
    reader: LogReader<RealDisk>,
    data: Arc<Path>,
    log_end: u64,
    unsynced: u64,
    staged: usize,
}

impl Runtime {
    /// The figures under RocketMQ's names (`AdminBrokerProcessor.prepareRuntimeInfo`, 5.5). What Halley has no counterpart for is
    /// what an idle broker of RocketMQ says: tools expect the name.
    fn table(&self) -> BTreeMap<String, String> {
        let (puts, gets) = self.stats.mornings();
        let (total, bytes, failed, longest) = self.stats.puts();
        let rates = self.stats.rates();
        let mut table = BTreeMap::new();
        let mut put = |name: &str, value: String| {
            table.insert(name.to_owned(), value);
        };
        put("bootTimestamp", self.stats.started().to_string());
        put("runtime", runtime(clock::now() - self.stats.started()));
        put("brokerVersionDesc", "V5_5_0".to_owned());
        put("brokerActive", "true".to_owned());
        put("commitLogMinOffset", self.reader.start().to_string());
        put("commitLogMaxOffset", self.log_end.to_string());
        put("earliestMessageTimeStamp", self.earliest().to_string());
        put("putMessageEntireTimeMax", longest.div_ceil(1000).to_string());
        put("putMessageTimesTotal", total.to_string());
        put("putMessageFailedTimes", failed.to_string());
        put("putMessageSizeTotal", bytes.to_string());
        put(
            "putMessageAverageSize",
            format!("{:?}", if total == 0 { 0.0 } else { bytes as f64 / total as f64 }),
        );
        put("putMessageDistributeTime", distribution(&self.stats));
        put("putLatency99", format!("{:.2}", self.stats.latency_ms(0.99)));
        put("putLatency999", format!("{:.2}", self.stats.latency_ms(0.999)));
        put("putTps", three(&rates.puts));
        put("getFoundTps", three(&rates.found));
        put("getMissTps", three(&rates.missed));
        put("getTotalTps", three(&rates.total));
        put("getTransferredTps", three(&rates.transferred));
        for (name, Mornings { yesterday, today, now }) in [("Put", puts), ("Get", gets)] {
            put(&format!("msg{name}TotalYesterdayMorning"), yesterday.to_string());
            put(&format!("msg{name}TotalTodayMorning"), today.to_string());
            put(&format!("msg{name}TotalTodayNow"), now.to_string());
        }
        put("remainHowManyDataToFlush", readable(self.unsynced));
        put("dispatchBehindBytes", "0".to_owned());
        if let Ok(space) = rustix::fs::statvfs(&*self.data) {
            let (all, free) = (space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize);
            let used = if all == 0 { 0.0 } else { (all - free) as f64 / all as f64 };
            put("commitLogDirCapacity", format!("Total : {}, Free : {}.", readable(all), readable(free)));
            put("commitLogDiskRatio", format!("{used:.2}"));
            put("consumeQueueDiskRatio", format!("{used:.2}"));
            put(&format!("commitLogDiskRatio_{}", self.data.display()), format!("{used:.2}"));
        }
        put("sendThreadPoolQueueSize", usize::from(self.staged > 0).to_string());
        for (name, value) in IDLE {
            put(name, value.to_owned());
        }
        table
    }

    /// When the log's first record was stored, -1 for none.
    fn earliest(&self) -> Millis {
        let mut stored = -1;
        let first = self.reader.scan(self.reader.start(), |record| {
            stored = record.stored();
            ControlFlow::Break(())
        });
        if let Err(error) = first {
            tracing::warn!(%error, "the log's first record was not read");
        }
        stored
    }
}

/// Figures of RocketMQ's own build, which has queues of threads where Halley has none.
const IDLE: [(&str, &str); 26] = [
    ("EndTransactionQueueSize", "0"),
    ("EndTransactionThreadPoolQueueCapacity", "100000"),
    ("ackThreadPoolQueueCapacity", "100000"),
    ("ackThreadPoolQueueHeadWaitTimeMills", "0"),
    ("ackThreadPoolQueueSize", "0"),
    ("dispatchMaxBuffer", "0"),
    ("getMessageEntireTimeMax", "0"),
    ("litePullThreadPoolQueueCapacity", "100000"),
    ("litePullThreadPoolQueueHeadWaitTimeMills", "0"),
    ("litePullThreadPoolQueueSize", "0"),
    ("pageCacheLockTimeMills", "0"),
    ("pullThreadPoolQueueCapacity", "100000"),
    ("pullThreadPoolQueueHeadWaitTimeMills", "0"),
    ("pullThreadPoolQueueSize", "0"),
    ("queryThreadPoolQueueCapacity", "20000"),
    ("queryThreadPoolQueueHeadWaitTimeMills", "0"),
    ("queryThreadPoolQueueSize", "0"),
    ("remainTransientStoreBufferNumbs", "2147483647"),
    ("sendThreadPoolQueueCapacity", "10000"),
    ("sendThreadPoolQueueHeadWaitTimeMills", "0"),
    ("startAcceptSendRequestTimeStamp", "0"),
    ("timerCongestNum", "0"),
    ("timerDequeueTps", "0.0"),
    ("timerEnqueueTps", "0.0"),
    ("timerOffsetBehind", "0"),
    ("timerReadBehind", "0"),
];

/// Rates over 10, 60 and 600 s as `StoreStatsService.getPutTps`, 5.5, joins them.
fn three(rates: &[f64]) -> String {
    let text = |at: usize| rates.get(at).map_or_else(String::new, |rate| format!("{rate:?}"));
    format!("{} {} {}", text(0), text(1), text(2))
}

/// `StoreStatsService.getFormatRuntime`, 5.5.
fn runtime(elapsed: Millis) -> String {
    let seconds = elapsed / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    format!("[ {days} days, {} hours, {} minutes, {} seconds ]", hours % 24, minutes % 60, seconds % 60)
}

/// How many records took how long to write, in RocketMQ's classes (`StoreStatsService`, 5.5).
fn distribution(stats: &Stats) -> String {
    const BOUNDS_MS: [u64; 12] = [0, 10, 50, 100, 200, 500, 1000, 2000, 3000, 4000, 5000, 10_000];
    const NAMES: [&str; 13] = [
        "[<=0ms]",
        "[0~10ms]",
        "[10~50ms]",
        "[50~100ms]",
        "[100~200ms]",
        "[200~500ms]",
        "[500ms~1s]",
        "[1~2s]",
        "[2~3s]",
        "[3~4s]",
        "[4~5s]",
        "[5~10s]",
        "[10s~]",
    ];
    let counts = stats.distribution(&BOUNDS_MS);
    NAMES.iter().zip(counts).map(|(name, count)| format!("{name}:{count} ")).collect()
}

/// `MixAll.humanReadableByteCount` with binary units, 5.5.
fn readable(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_look_like_rocketmqs() {
        assert_eq!(runtime(93_784_000), "[ 1 days, 2 hours, 3 minutes, 4 seconds ]");
        assert_eq!(readable(1023), "1023 B");
        assert_eq!(readable(252 << 30), "252.0 GiB");
        assert_eq!(three(&[0.5]), "0.5  ");
        assert_eq!(three(&[]), "  ");
    }
}
