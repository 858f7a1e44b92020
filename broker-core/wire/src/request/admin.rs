//! Administration: headers of the requests that `mqadmin` makes of brokers (RocketMQ 5.5).

use super::header::header;

header! {
    /// Names a topic (202 `GetTopicStatsInfoRequestHeader`, 215 `DeleteTopicRequestHeader`,
    /// 300 `QueryTopicConsumeByWhoRequestHeader`, 351 `GetTopicConfigRequestHeader`).
    TopicOnly {
        /// The topic.
        topic: text = "topic",
    }
}

header! {
    /// Names a group (343 `QueryTopicsByConsumerRequestHeader`, 352 `GetSubscriptionGroupConfigRequestHeader`).
    GroupOnly {
        /// The group.
        group: text = "group",
    }
}

header! {
    /// Names a producer group (204 `GetProducerConnectionListRequestHeader`).
    ProducerGroup {
        /// The group.
        producer_group: text = "producerGroup",
    }
}

header! {
    /// Names a group and a topic (303 `QueryConsumeTimeSpanRequestHeader`,
    /// 345 `QuerySubscriptionByConsumerRequestHeader`).
    GroupAndTopic {
        /// The group.
        group: text = "group",
        /// The topic.
        topic: text = "topic",
    }
}

header! {
    /// Asks for topics, all or a page of them (21, `GetAllTopicConfigRequestHeader`).
    GetAllTopicConfig {
        /// The first topic of the page, by name.
        topic_seq: i32_opt = "topicSeq",
        /// The version that the page before had; another one begins anew.
        data_version: text_opt = "dataVersion",
        /// Most topics of the page.
        max_topic_num: i32_opt = "maxTopicNum",
    }
}

header! {
    /// Asks for groups, all or a page of them (201, `GetAllSubscriptionGroupRequestHeader`).
    GetAllGroupConfig {
        /// The first group of the page, by name.
        group_seq: i32_opt = "groupSeq",
        /// The version that the page before had; another one begins anew.
        data_version: text_opt = "dataVersion",
        /// Most groups of the page.
        max_group_num: i32_opt = "maxGroupNum",
    }
}

header! {
    /// Deletes a group (207, `DeleteSubscriptionGroupRequestHeader`).
    DeleteGroup {
        /// The group.
        group_name: text = "groupName",
        /// Its offsets go too.
        clean_offset: flag = "cleanOffset",
    }
}

header! {
    /// Whether a group may read a topic, and changes it (353, `UpdateGroupForbiddenRequestHeader`).
    GroupForbidden {
        /// The group.
        group: text = "group",
        /// The topic.
        topic: text = "topic",
        /// May it; absent asks only.
        readable: flag_opt = "readable",
    }
}

header! {
    /// Asks how far a group is (208, `GetConsumeStatsRequestHeader`).
    GetConsumeStats {
        /// The group.
        consumer_group: text = "consumerGroup",
        /// In this topic alone.
        topic: text_opt = "topic",
        /// In these topics, separated by semicolons, whatever the group subscribes to.
        topic_list: text_opt = "topicList",
    }
}

header! {
    /// Sets a group back or forth in a topic (222 to the broker, 220 to clients, `ResetOffsetRequestHeader`).
    ResetOffset {
        /// The group.
        group: text = "group",
        /// The topic.
        topic: text = "topic",
        /// In this queue alone; negative or absent for all.
        queue_id: i32_opt = "queueId",
        /// To this offset; -1 or absent for the time.
        offset: i64_opt = "offset",
        /// To what was stored at this time, milliseconds since the epoch; negative for the end.
        timestamp: i64 = "timestamp",
        /// Also forwards.
        is_force: flag = "isForce",
    }
}

header! {
    /// Asks consumers how far they are (223 to the broker, 221 to clients, `GetConsumerStatusRequestHeader`).
    GetConsumerStatus {
        /// The topic.
        topic: text = "topic",
        /// The group.
        group: text = "group",
        /// The id of one client alone.
        client_addr: text_opt = "clientAddr",
    }
}

header! {
    /// Names a consumer (307 `GetConsumerRunningInfoRequestHeader`, 309 `ConsumeMessageDirectlyResultRequestHeader`).
    ConsumerClient {
        /// The group.
        consumer_group: text = "consumerGroup",
        /// The client's own id.
        client_id: text_opt = "clientId",
        /// With 309: the message.
        message_id: text_opt = "msgId",
        /// With 309: its topic.
        topic: text_opt = "topic",
    }
}

header! {
    /// Asks where a group stands in relation to all others (308, `QueryCorrectionOffsetHeader`).
    QueryCorrectionOffset {
        /// Groups to leave out, separated by commas.
        filter_groups: text_opt = "filterGroups",
        /// The group.
        compare_group: text = "compareGroup",
        /// The topic.
        topic: text = "topic",
    }
}

header! {
    /// Gives a group the offsets of another (314, `CloneGroupOffsetRequestHeader`).
    CloneGroupOffset {
        /// From this group.
        src_group: text = "srcGroup",
        /// To this one.
        dest_group: text = "destGroup",
        /// In this topic.
        topic: text_opt = "topic",
        /// Whatever the group subscribes to.
        offline: flag = "offline",
    }
}

header! {
    /// Asks when the first message of a queue was stored (32, `GetEarliestMsgStoretimeRequestHeader`).
    GetEarliestStoreTime {
        /// The topic.
        topic: text = "topic",
        /// The queue.
        queue_id: i32 = "queueId",
    }
}

header! {
    /// Asks for a counter's sums (315, `ViewBrokerStatsDataRequestHeader`).
    ViewStats {
        /// The counter, such as `TOPIC_PUT_NUMS`.
        stats_name: text = "statsName",
        /// Of this topic, or `topic@group`.
        stats_key: text = "statsKey",
    }
}
