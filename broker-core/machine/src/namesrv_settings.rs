//! Settings of the name server, under RocketMQ's names (`NamesrvConfig`, 5.5).

use crate::routes::RouteSettings;
use std::collections::BTreeMap;

/// What may not be changed from outside (`DefaultRequestProcessor.initConfigBlackList` and `configBlackList`, 5.5).
const BLACK_LIST: [&str; 4] = ["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"];

/// Shortest interval between looks for silent brokers, in milliseconds.
const SCAN_INTERVAL_MIN: i64 = 10;

/// The settings that can be changed while the name server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesrvSettings {
    /// What decides about routes.
    pub routes: RouteSettings,
    /// Routes tell the queue counts of ordered topics.
    pub order_message_enable: bool,
    /// Brokers that register are told the queue counts of ordered topics.
    pub return_order_topic_config_to_broker: bool,
    /// Request 206 is answered.
    pub enable_all_topic_list: bool,
    /// Requests 224 and 311 to 313 are answered.
    pub enable_topic_list: bool,
    /// Routes are refused at first, until brokers had time to register.
    pub need_wait_for_service: bool,
    /// For how long, in seconds.
    pub wait_seconds_for_service: i64,
    /// Silent brokers are looked for this often, in milliseconds.
    pub scan_not_active_broker_interval: i64,
}

/// A setting that may not be changed was among those to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Can not update config in black list.")]
pub struct BlackListed;

impl Default for NamesrvSettings {
    fn default() -> Self {
        Self {
            routes: RouteSettings::default(),
            order_message_enable: false,
            return_order_topic_config_to_broker: true,
            enable_all_topic_list: true,
            enable_topic_list: true,
            need_wait_for_service: false,
            wait_seconds_for_service: 45,
            scan_not_active_broker_interval: 5000,
        }
    }
}

impl NamesrvSettings {
    /// Changes what of `wanted` there is. As in RocketMQ, names that there are not and values that are none are skipped, and
    /// every word but `true` is false. Returns those that were changed, as they are now.
    pub fn change(
        &mut self,
        wanted: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, BlackListed> {
        if BLACK_LIST.iter().any(|name| wanted.contains_key(*name)) {
            return Err(BlackListed);
        }
        let before = self.list();
        for (name, value) in wanted {
            match self.field(name) {
                Some(Field::Flag(flag)) => *flag = value.eq_ignore_ascii_case("true"),
                Some(Field::Number(number)) => *number = value.parse().unwrap_or(*number),
                None => {}
            }
        }
        let interval = &mut self.scan_not_active_broker_interval;
        *interval = (*interval).max(SCAN_INTERVAL_MIN);
        let after = self.list().into_iter().filter(|(name, value)| before.get(name) != Some(value));
        Ok(after.map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// All settings by name.
    pub fn list(&self) -> BTreeMap<&'static str, String> {
        // Reading needs the fields as changing does; the copy keeps one table of names.
        let mut copy = self.clone();
        let text = |field: Field<'_>| match field {
            Field::Flag(flag) => flag.to_string(),
            Field::Number(number) => number.to_string(),
        };
        NAMES.iter().filter_map(|name| Some((*name, copy.field(name).map(text)?))).collect()
    }

    /// Settings that are not as they would be without a change.
    pub fn changed(&self) -> BTreeMap<String, String> {
        let usual = Self::default().list();
        let other = self.list().into_iter().filter(|(name, value)| usual.get(name) != Some(value));
        other.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn field(&mut self, name: &str) -> Option<Field<'_>> {
        Some(match name {
            "deleteTopicWithBrokerRegistration" => {
                Field::Flag(&mut self.routes.delete_topic_with_broker_registration)
            }
            "enableAllTopicList" => Field::Flag(&mut self.enable_all_topic_list),
            "enableTopicList" => Field::Flag(&mut self.enable_topic_list),
            "needWaitForService" => Field::Flag(&mut self.need_wait_for_service),
            "notifyMinBrokerIdChanged" => Field::Flag(&mut self.routes.notify_min_broker_id_changed),
            "orderMessageEnable" => Field::Flag(&mut self.order_message_enable),
            "returnOrderTopicConfigToBroker" => Field::Flag(&mut self.return_order_topic_config_to_broker),
            "scanNotActiveBrokerInterval" => Field::Number(&mut self.scan_not_active_broker_interval),
            "supportActingMaster" => Field::Flag(&mut self.routes.support_acting_master),
            "waitSecondsForService" => Field::Number(&mut self.wait_seconds_for_service),
            _ => return None,
        })
    }
}

enum Field<'a> {
    Flag(&'a mut bool),
    Number(&'a mut i64),
}

const NAMES: [&str; 10] = [
    "deleteTopicWithBrokerRegistration",
    "enableAllTopicList",
    "enableTopicList",
    "needWaitForService",
    "notifyMinBrokerIdChanged",
    "orderMessageEnable",
    "returnOrderTopicConfigToBroker",
    "scanNotActiveBrokerInterval",
    "supportActingMaster",
    "waitSecondsForService",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_there_is_is_changed_and_told() {
        let mut settings = NamesrvSettings::default();
        assert_eq!(settings.list().len(), NAMES.len());
        assert!(settings.changed().is_empty());
        let asked = [
            ("orderMessageEnable", "TRUE"),
            ("enableTopicList", "no"),
            ("nosuch", "1"),
            ("waitSecondsForService", "abc"),
            ("scanNotActiveBrokerInterval", "-1"),
        ];
        let changed = settings.change(&wanted(&asked)).unwrap();
        let expected = [
            ("enableTopicList", "false"),
            ("orderMessageEnable", "true"),
            ("scanNotActiveBrokerInterval", "10"),
        ];
        assert_eq!(changed, wanted(&expected));
        assert_eq!(settings.changed(), changed);
        assert!(settings.change(&wanted(&asked)).unwrap().is_empty());
        let mut again = NamesrvSettings::default();
        again.change(&changed).unwrap();
        assert_eq!(again, settings);
    }

    #[test]
    fn nothing_is_changed_where_one_thing_may_not_be() {
        let mut settings = NamesrvSettings::default();
        let asked = wanted(&[("kvConfigPath", "/x"), ("orderMessageEnable", "true")]);
        assert_eq!(settings.change(&asked), Err(BlackListed));
        assert!(!settings.order_message_enable);
    }
}
