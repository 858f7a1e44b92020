//! Settings of the broker that can be changed while it runs (requests 25 and 26), and those that can only be looked at.

use crate::{changes::Changes, state_writer::StateWriter};
use halley_machine::state::StateRecord;
use halley_model::{DataVersion, LogOffset, Permission};
use halley_store::StageError;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU8, Ordering},
};

/// Settings that nobody may change from outside (`AdminBrokerProcessor.initConfigBlackList`, 5.5).
const BLACK_LIST: [&str; 3] = ["brokerConfigPath", "rocketmqHome", "configBlackList"];

/// The broker's settings, under RocketMQ's names.
pub(crate) struct Settings {
    permission: AtomicU8,
    auto_create_topics: AtomicBool,
    auto_create_groups: AtomicBool,
    mixed_types: AtomicBool,
    server_side_reset: AtomicBool,
    /// What was changed, held while a change is logged.
    changed: Mutex<BTreeMap<String, String>>,
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
        writer: StateWriter,
    ) -> Self {
        let settings = Self {
            permission: AtomicU8::new(Permission::READ_WRITE.0),
            auto_create_topics: AtomicBool::new(true),
            auto_create_groups: AtomicBool::new(true),
            mixed_types: AtomicBool::new(false),
            server_side_reset: AtomicBool::new(true),
            changed: Mutex::default(),
            fixed,
            changes: Changes::default(),
            writer,
        };
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
        self.auto_create_topics.load(Ordering::Relaxed)
    }

    /// Whether groups are created on first use (`autoCreateSubscriptionGroup`).
    pub(crate) fn auto_create_groups(&self) -> bool {
        self.auto_create_groups.load(Ordering::Relaxed)
    }

    /// Whether a topic may be for messages of all kinds (`enableMixedMessageType`).
    pub(crate) fn mixed_types(&self) -> bool {
        self.mixed_types.load(Ordering::Relaxed)
    }

    /// Whether the broker itself resets offsets, or tells its clients to (`useServerSideResetOffset`).
    pub(crate) fn server_side_reset(&self) -> bool {
        self.server_side_reset.load(Ordering::Relaxed)
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
        for (name, flag) in self.flags() {
            all.insert(name, flag.load(Ordering::Relaxed).to_string());
        }
        all.into_iter().map(|(name, value)| format!("{name}={value}\n")).collect()
    }

    pub(crate) fn version(&self) -> DataVersion {
        self.changes.version()
    }

    fn flags(&self) -> [(&'static str, &AtomicBool); 4] {
        [
            ("autoCreateTopicEnable", &self.auto_create_topics),
            ("autoCreateSubscriptionGroup", &self.auto_create_groups),
            ("enableMixedMessageType", &self.mixed_types),
            ("useServerSideResetOffset", &self.server_side_reset),
        ]
    }

    fn check(&self, name: &str, value: &str) -> Result<Change<'_>, SettingError> {
        let wrong =
            |expected| SettingError::Value { name: name.to_owned(), value: value.to_owned(), expected };
        if name == "brokerPermission" {
            let permission = value.parse().ok().filter(|permission: &u8| matches!(permission, 2 | 4 | 6));
            let permission = permission.ok_or_else(|| wrong("2 (write), 4 (read) or 6 (both)"))?;
            return Ok(Change::Permission(&self.permission, permission));
        }
        let flag = self.flags().into_iter().find(|(known, _)| *known == name);
        match (flag, value) {
            (Some((_, flag)), "true" | "false") => Ok(Change::Flag(flag, value == "true")),
            (Some(_), _) => Err(wrong("true or false")),
            (None, _) if self.fixed.contains_key(name) => Err(SettingError::Fixed(name.to_owned())),
            (None, _) => Err(SettingError::Unknown(name.to_owned())),
        }
    }
}

enum Change<'a> {
    Permission(&'a AtomicU8, u8),
    Flag(&'a AtomicBool, bool),
}

impl Change<'_> {
    fn apply(self) {
        match self {
            Self::Permission(setting, value) => setting.store(value, Ordering::Relaxed),
            Self::Flag(setting, value) => setting.store(value, Ordering::Relaxed),
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
    fn properties_are_lines() {
        let read = parse_properties(b"# a comment\na=1\n b : 2 \n\nc\n").unwrap();
        assert!(read.iter().map(|(name, value)| (&**name, &**value)).eq([("a", "1"), ("b", "2"), ("c", "")]));
        assert!(parse_properties(b"\xff").is_none());
    }
}
