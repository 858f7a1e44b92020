import java.util.HashSet;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.impl.mqclient.DoNothingClientRemotingProcessor;
import org.apache.rocketmq.client.impl.mqclient.MQClientAPIExt;
import org.apache.rocketmq.common.lite.LiteSubscriptionAction;
import org.apache.rocketmq.common.lite.LiteSubscriptionDTO;
import org.apache.rocketmq.common.lite.OffsetOption;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PopLiteMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.route.BrokerData;

/**
 * {@code lite-topics NAMESRV PARENT GROUP --lite L... --expect N [--forget N] [--timeout-s S]}: subscribes to lite topics from their
 * beginning, pops, prints and acknowledges messages. The first N it prints and forgets, so that they come again. The library has no
 * consumer for this, only the calls that RocketMQ's proxy makes.
 */
final class LiteTopics {
    private static final long TIMEOUT_MS = Client.PATIENCE_MS;
    private static final String CLIENT = "test_lite_topics";

    private final Arguments arguments;
    private final String parent;
    private final String group;
    private final MQClientAPIExt api;
    private String broker;
    private String address;

    private LiteTopics(Arguments arguments) {
        this.arguments = arguments;
        this.parent = arguments.at(2, "PARENT");
        this.group = arguments.at(3, "GROUP");
        ClientConfig config = new ClientConfig();
        config.setNamesrvAddr(arguments.at(1, "NAMESRV"));
        api = new MQClientAPIExt(config, new NettyClientConfig(), new DoNothingClientRemotingProcessor(null), null);
    }

    static boolean run(Arguments arguments) throws Exception {
        LiteTopics topics = new LiteTopics(arguments);
        topics.api.updateNameServerAddressList();
        topics.api.start();
        try {
            topics.subscribe();
            return topics.popAll();
        } finally {
            topics.api.shutdown();
        }
    }

    private void subscribe() throws Exception {
        BrokerData data = api.getTopicRouteInfoFromNameServer(parent, TIMEOUT_MS).getBrokerDatas().get(0);
        broker = data.getBrokerName();
        address = data.selectBrokerAddr();
        LiteSubscriptionDTO subscription = new LiteSubscriptionDTO()
            .setAction(LiteSubscriptionAction.PARTIAL_ADD)
            .setClientId(CLIENT)
            .setGroup(group)
            .setTopic(parent)
            .setLiteTopicSet(new HashSet<>(arguments.all("lite")));
        subscription.setOffsetOption(new OffsetOption(OffsetOption.Type.POLICY, OffsetOption.POLICY_MIN_VALUE));
        api.syncLiteSubscriptionAsync(address, subscription, TIMEOUT_MS).get();
    }

    private boolean popAll() throws Exception {
        int missing = arguments.number("expect", 0);
        int forgotten = arguments.number("forget", 0);
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(arguments.number("timeout-s", 120));
        while (missing > 0 && System.nanoTime() < deadline) {
            for (MessageExt message : pop()) {
                Consume.print(message);
                if (forgotten-- <= 0) {
                    acknowledge(message);
                    missing--;
                }
            }
        }
        return missing <= 0;
    }

    private List<MessageExt> pop() throws Exception {
        PopLiteMessageRequestHeader header = new PopLiteMessageRequestHeader();
        header.setClientId(CLIENT);
        header.setConsumerGroup(group);
        header.setTopic(parent);
        header.setMaxMsgNum(1);
        header.setInvisibleTime(2000);
        header.setPollTime(2000);
        header.setBornTime(System.currentTimeMillis());
        PopResult result = api.popLiteMessageAsync(address, broker, header, TIMEOUT_MS).get();
        List<MessageExt> messages = result.getMsgFoundList();
        return messages == null ? List.of() : messages;
    }

    private void acknowledge(MessageExt message) throws Exception {
        AckMessageRequestHeader header = new AckMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(parent);
        header.setQueueId(0);
        header.setExtraInfo(message.getProperty(MessageConst.PROPERTY_POP_CK));
        header.setOffset(message.getQueueOffset());
        header.setLiteTopic(message.getProperty(MessageConst.PROPERTY_LITE_TOPIC));
        api.ackMessageAsync(address, header, TIMEOUT_MS).get();
    }
}
