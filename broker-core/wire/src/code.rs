//! Request codes that Halley serves or sends, one set for each kind of peer, and all response codes it uses
//! (`RequestCode`, `ResponseCode`, `RemotingSysResponseCode`, RocketMQ 5.5). Numbers and names are the protocol's and
//! never change.

macro_rules! codes {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
            /// A number that none of the others has.
            Unknown(i32),
        }

        impl $name {
            /// All but [`Self::Unknown`].
            pub const KNOWN: &[Self] = &[$(Self::$variant),+];

            /// What a number on the wire means.
            pub const fn of(number: i32) -> Self {
                match number {
                    $($number => Self::$variant,)+
                    other => Self::Unknown(other),
                }
            }

            /// Its name; `None` for [`Self::Unknown`].
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => Some(stringify!($variant)),)+
                    Self::Unknown(_) => None,
                }
            }

            /// The number on the wire.
            pub const fn number(self) -> i32 {
                match self {
                    $(Self::$variant => $number,)+
                    Self::Unknown(number) => number,
                }
            }
        }

        impl From<$name> for i32 {
            fn from(code: $name) -> i32 {
                code.number()
            }
        }
    };
}

codes! {
    /// What a broker is asked. Match it without a wildcard, so that a new code shows every place to visit.
    BrokerCode {
        /// Store one message; header with long names (Go and C++ clients, also for batches).
        SendMessage = 10,
        /// Read messages of a queue, waiting for some if asked to.
        PullMessage = 11,
        /// Messages by key, unique key or tag.
        QueryMessage = 12,
        /// A group's committed offset in a queue.
        QueryConsumerOffset = 14,
        /// Commit a group's offset in a queue; often one-way.
        UpdateConsumerOffset = 15,
        /// Create a topic or change its settings.
        UpdateAndCreateTopic = 17,
        /// As 17, for several topics.
        UpdateAndCreateTopicList = 18,
        /// The settings of all topics.
        GetAllTopicConfig = 21,
        /// Change settings of the broker.
        UpdateBrokerConfig = 25,
        /// The settings of the broker.
        GetBrokerConfig = 26,
        /// Figures of the running broker.
        GetBrokerRuntimeInfo = 28,
        /// The first offset stored at or after a time.
        SearchOffsetByTimestamp = 29,
        /// The end of a queue.
        GetMaxOffset = 30,
        /// The first offset still there.
        GetMinOffset = 31,
        /// When the first message of a queue was stored.
        GetEarliestMsgStoreTime = 32,
        /// The message at a log offset.
        ViewMessageById = 33,
        /// A client lives, with these producers and consumers.
        HeartBeat = 34,
        /// A producer or consumer takes its leave.
        UnregisterClient = 35,
        /// A consumer failed on a message: try it again later, or give it up.
        ConsumerSendMsgBack = 36,
        /// Commit or roll back a transaction; often one-way.
        EndTransaction = 37,
        /// The client ids of a consumer group.
        GetConsumerListByGroup = 38,
        /// Take or renew locks on queues.
        LockBatchMq = 41,
        /// Give locks on queues back.
        UnlockBatchMq = 42,
        /// All committed offsets.
        GetAllConsumerOffset = 43,
        /// Whether a subscription's expression can be served.
        CheckClientConfig = 46,
        /// Create a consumer group or change its settings.
        UpdateAndCreateSubscriptionGroup = 200,
        /// The settings of all consumer groups.
        GetAllSubscriptionGroupConfig = 201,
        /// A topic's queues, how long they are and when they last grew.
        GetTopicStatsInfo = 202,
        /// A consumer group's clients and subscriptions.
        GetConsumerConnectionList = 203,
        /// A producer group's clients.
        GetProducerConnectionList = 204,
        /// Delete a consumer group.
        DeleteSubscriptionGroup = 207,
        /// How far a group is in its topics.
        GetConsumeStats = 208,
        /// Delete a topic.
        DeleteTopicInBroker = 215,
        /// Set a group back or forth.
        InvokeBrokerToResetOffset = 222,
        /// Ask consumers how far they are.
        InvokeBrokerToGetConsumerStatus = 223,
        /// As 200, for several groups.
        UpdateAndCreateSubscriptionGroupList = 225,
        /// Which groups consume a topic.
        QueryTopicConsumeByWho = 300,
        /// How old what a group has and has not consumed is.
        QueryConsumeTimeSpan = 303,
        /// The topics that the broker keeps for itself.
        GetSystemTopicListFromBroker = 305,
        /// Delete index files that nothing needs.
        CleanExpiredConsumeQueue = 306,
        /// Ask a consumer how it does.
        GetConsumerRunningInfo = 307,
        /// Where a group stands in relation to all others.
        QueryCorrectionOffset = 308,
        /// Have a consumer consume a message now.
        ConsumeMessageDirectly = 309,
        /// As 10, with one-letter names (Java and C++ clients).
        SendMessageV2 = 310,
        /// Give a group the offsets of another.
        CloneGroupOffset = 314,
        /// A counter's sums over the last minute, hour and day.
        ViewBrokerStatsData = 315,
        /// Delete what is left of topics that are no more.
        CleanUnusedTopic = 316,
        /// How far all groups are.
        GetBrokerConsumeStats = 317,
        /// Store several messages of one topic; header as 310.
        SendBatchMessage = 320,
        /// Entries of a queue's index.
        QueryConsumeQueue = 321,
        /// The reply to a message, to be brought to the producer that waits for it; header as 10.
        SendReplyMessage = 324,
        /// As 324; header as 310.
        SendReplyMessageV2 = 325,
        /// All producer groups' clients.
        GetAllProducerInfo = 328,
        /// Delete log files that are old enough.
        DeleteExpiredCommitLog = 329,
        /// Which topics a group consumes.
        QueryTopicsByConsumer = 343,
        /// What a group wants of a topic.
        QuerySubscriptionByConsumer = 345,
        /// A topic's settings.
        GetTopicConfig = 351,
        /// A consumer group's settings.
        GetSubscriptionGroupConfig = 352,
        /// Whether a group may read a topic.
        UpdateAndGetGroupForbidden = 353,
        /// As 11, from Java 5.x lite pull consumers.
        LitePullMessage = 361,
        /// Which queues are the client's.
        QueryAssignment = 400,
        /// Set how a group gets a topic's messages: by pulling or by POP.
        SetMessageRequestMode = 401,
        /// All that were set with 401.
        GetAllMessageRequestMode = 402,
        /// Take messages, hidden from other consumers for a while. From here on codes fit JSON headers only.
        PopMessage = 200_050,
        /// A popped message was consumed.
        AckMessage = 200_051,
        /// Look at the next messages to pop.
        PeekMessage = 200_052,
        /// Hide a popped message for another while.
        ChangeMessageInvisibleTime = 200_053,
        /// Wait until there are messages to pop.
        Notification = 200_054,
        /// How many pops wait.
        PollingInfo = 200_055,
        /// Take messages of lite topics and hide them from other consumers.
        PopLiteMessage = 200_070,
        /// Which lite topics clients want.
        LiteSubscriptionCtl = 200_071,
        /// What there is of lite topics.
        GetBrokerLiteInfo = 200_074,
        /// A topic with lite topics.
        GetParentTopicInfo = 200_075,
        /// A lite topic.
        GetLiteTopicInfo = 200_076,
        /// What a client wants.
        GetLiteClientInfo = 200_077,
        /// How far behind a group is.
        GetLiteGroupInfo = 200_078,
        /// Tell clients again of the lite topics with messages.
        TriggerLiteDispatch = 200_079,
        /// What POP keeps in RocksDB is to move into files.
        PopRollback = 200_056,
        /// Several popped messages were consumed.
        BatchAckMessage = 200_151,
        /// Take back a timer message that is not yet delivered.
        RecallMessage = 370,
        /// Create a static topic, or move its queues.
        UpdateAndCreateStaticTopic = 513,
        /// Another broker of the group is now the one with the least id; a name server says so.
        NotifyMinBrokerIdChange = 905,
        /// Replicas and how far they are.
        GetBrokerHaStatus = 907,
        /// Tell a replica how far its master is.
        ResetMasterFlushOffset = 908,
    }
}

codes! {
    /// What a name server is asked.
    NamesrvCode {
        /// Set a value in a namespace.
        PutKvConfig = 100,
        /// A value in a namespace.
        GetKvConfig = 101,
        /// Remove a value from a namespace.
        DeleteKvConfig = 102,
        /// A broker is there, with these topics.
        RegisterBroker = 103,
        /// A broker takes its leave.
        UnregisterBroker = 104,
        /// Which brokers serve a topic.
        GetRouteInfoByTopic = 105,
        /// All brokers by name and cluster.
        GetBrokerClusterInfo = 106,
        /// Producers are to leave a broker alone.
        WipeWritePermOfBroker = 205,
        /// The names of all topics.
        GetAllTopicListFromNameserver = 206,
        /// Forget a topic, in all clusters or one.
        DeleteTopicInNamesrv = 216,
        /// Brokers serve a topic, which they will not say themselves before long.
        RegisterTopicInNamesrv = 217,
        /// All values in a namespace.
        GetKvlistByNamespace = 219,
        /// The names of a cluster's topics.
        GetTopicsByCluster = 224,
        /// The names of clusters and brokers, which are topics too.
        GetSystemTopicListFromNs = 304,
        /// The names of topics marked as unit topics.
        GetUnitTopicList = 311,
        /// The names of topics with unit subscriptions.
        GetHasUnitSubTopicList = 312,
        /// The names of topics with unit subscriptions that are no unit topics.
        GetHasUnitSubUnunitTopicList = 313,
        /// Change settings of the name server.
        UpdateNamesrvConfig = 318,
        /// All settings of the name server.
        GetNamesrvConfig = 319,
        /// Whether a broker's topics changed; also a sign of life.
        QueryDataVersion = 322,
        /// Producers may use a broker again.
        AddWritePermOfBroker = 327,
        /// A broker and its replicas.
        GetBrokerMemberGroup = 901,
        /// A broker lives.
        BrokerHeartbeat = 904,
    }
}

codes! {
    /// What a name server tells brokers, on connections that it opens.
    NoticeCode {
        /// Another broker of the group is now the one with the least id. One-way.
        NotifyMinBrokerIdChange = 905,
    }
}

codes! {
    /// What a broker asks of its clients, on the connections that they opened.
    ClientCode {
        /// To a producer: is this transaction to be committed? One-way; the answer is request 37.
        CheckTransactionState = 39,
        /// The group's members changed, share the queues anew. One-way.
        NotifyConsumerIdsChanged = 40,
        /// Go on reading at these offsets. One-way.
        ResetConsumerClientOffset = 220,
        /// How far are you?
        GetConsumerStatusFromClient = 221,
        /// How do you do?
        GetConsumerRunningInfo = 307,
        /// Consume this message now.
        ConsumeMessageDirectly = 309,
        /// The reply to a message that the client sent.
        PushReplyMessageToClient = 326,
        /// Another client has the lite topic now. One-way.
        NotifyUnsubscribeLite = 200_073,
    }
}

codes! {
    /// How it went.
    ResponseCode {
        /// It was done.
        Success = 0,
        /// It was not done, the remark says why; also for headers that lack something.
        SystemError = 1,
        /// Too much to do at the moment. Java producers try another broker.
        SystemBusy = 2,
        /// Nobody here serves this request code.
        RequestCodeNotSupported = 3,
        /// Stored, but the sync took too long.
        FlushDiskTimeout = 10,
        /// Stored, but no replica is there.
        SlaveNotAvailable = 11,
        /// Stored, but replication took too long.
        FlushSlaveTimeout = 12,
        /// The message breaks a limit.
        MessageIllegal = 13,
        /// The store takes no writes now. Java producers try another broker.
        ServiceNotAvailable = 14,
        /// The client's version is not served.
        VersionNotSupported = 15,
        /// The topic may not be read or written.
        NoPermission = 16,
        /// No such topic. Java producers ask for its route again.
        TopicNotExist = 17,
        /// Nothing at the asked offset yet.
        PullNotFound = 19,
        /// Nothing matched so far; ask again from the offset given, at once.
        PullRetryImmediately = 20,
        /// The asked offset does not exist; go on from the one given.
        PullOffsetMoved = 21,
        /// The group committed nothing yet.
        QueryNotFound = 22,
        /// The subscription's expression cannot be compiled.
        SubscriptionParseFailed = 23,
        /// The group does not subscribe to the topic.
        SubscriptionNotExist = 24,
        /// The broker knows an older subscription; a heartbeat will bring the new one.
        SubscriptionNotLatest = 25,
        /// No such consumer group.
        SubscriptionGroupNotExist = 26,
        /// The broker has no compiled expression for the subscription.
        FilterDataNotExist = 27,
        /// A parameter is out of bounds.
        InvalidParameter = 29,
        /// Another broker leads the static topic's queue.
        NotLeaderForQueue = 501,
        /// There is no such message.
        NoMessage = 208,
        /// Too many pops wait already.
        PollingFull = 209,
        /// Nothing came while the pop waited.
        PollingTimeout = 210,
        /// No consumer of the group is connected.
        ConsumerNotOnline = 206,
        /// The consumer did not answer in time.
        ConsumeMsgTimeout = 207,
        /// The request is not possible any more, or not meant for this broker.
        IllegalOperation = 604,
        /// There are as many light queues as there may be.
        LmqQuotaExceeded = 2017,
        /// There are as many subscriptions of lite topics as there may be.
        LiteSubscriptionQuotaExceeded = 2018,
        /// The server drains; Java 5.x clients reconnect elsewhere.
        GoAway = 1500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_agree() {
        for code in BrokerCode::KNOWN {
            assert_eq!(BrokerCode::of(code.number()), *code);
        }
        for code in NamesrvCode::KNOWN {
            assert_eq!(NamesrvCode::of(code.number()), *code);
        }
        for code in ResponseCode::KNOWN {
            assert_eq!(ResponseCode::of(code.number()), *code);
        }
        assert_eq!(BrokerCode::of(-7), BrokerCode::Unknown(-7));
        assert_eq!(BrokerCode::Unknown(12).number(), 12);
        assert_eq!(BrokerCode::of(310), BrokerCode::SendMessageV2);
    }
}
