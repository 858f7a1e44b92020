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
        /// A group's committed offset in a queue.
        QueryConsumerOffset = 14,
        /// Commit a group's offset in a queue; often one-way.
        UpdateConsumerOffset = 15,
        /// Create a topic or change its settings.
        UpdateAndCreateTopic = 17,
        /// The first offset stored at or after a time.
        SearchOffsetByTimestamp = 29,
        /// The end of a queue.
        GetMaxOffset = 30,
        /// The first offset still there.
        GetMinOffset = 31,
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
        /// Whether a subscription's expression can be served.
        CheckClientConfig = 46,
        /// As 10, with one-letter names (Java and C++ clients).
        SendMessageV2 = 310,
        /// Store several messages of one topic; header as 310.
        SendBatchMessage = 320,
        /// As 11, from Java 5.x lite pull consumers.
        LitePullMessage = 361,
        /// Take back a timer message that is not yet delivered.
        RecallMessage = 370,
    }
}

codes! {
    /// What a name server is asked.
    NamesrvCode {
        /// Which brokers serve a topic.
        GetRouteInfoByTopic = 105,
        /// All brokers by name and cluster.
        GetBrokerClusterInfo = 106,
        /// The names of all topics.
        GetAllTopicListFromNameserver = 206,
    }
}

codes! {
    /// What a broker asks of its clients, on the connections that they opened.
    ClientCode {
        /// To a producer: is this transaction to be committed? One-way; the answer is request 37.
        CheckTransactionState = 39,
        /// The group's members changed, share the queues anew. One-way.
        NotifyConsumerIdsChanged = 40,
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
        /// The request is not possible any more, or not meant for this broker.
        IllegalOperation = 604,
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
