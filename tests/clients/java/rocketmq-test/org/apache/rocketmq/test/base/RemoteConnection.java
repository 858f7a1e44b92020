package org.apache.rocketmq.test.base;

import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentMap;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.admin.OffsetWrapper;
import org.apache.rocketmq.remoting.protocol.header.NotificationRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.NotificationResponseHeader;
import org.apache.rocketmq.remoting.protocol.header.QueryConsumerOffsetRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** Asks a broker that runs elsewhere what tests want to know of it. Each method is a request, or two. */
final class RemoteConnection {
    private static final long TIMEOUT_MS = 30_000;

    private static DefaultMQAdminExt admin;

    private final String broker;
    private final String address;

    RemoteConnection(String broker, String address) {
        this.broker = broker;
        this.address = address;
    }

    long maxOffset(String topic, int queue) {
        return ask(admin -> admin.maxOffset(new MessageQueue(topic, broker, queue)));
    }

    long minOffset(String topic, int queue) {
        return ask(admin -> admin.minOffset(new MessageQueue(topic, broker, queue)));
    }

    /** The group's offset, -1 if there is none. */
    long committed(String group, String topic, int queue) {
        QueryConsumerOffsetRequestHeader header = new QueryConsumerOffsetRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(queue);
        header.setSetZeroIfNotFound(false);
        try {
            return ask(admin -> client(admin).queryConsumerOffset(address, header, TIMEOUT_MS));
        } catch (AssertionError none) {
            return -1;
        }
    }

    /** Up to where the group has pulled, -1 if the broker does not say. */
    long pulled(String group, String topic, int queue) {
        ConsumeStats stats = ask(admin -> client(admin).getConsumeStats(address, group, topic, TIMEOUT_MS));
        OffsetWrapper offsets = stats.getOffsetTable().get(new MessageQueue(topic, broker, queue));
        return offsets == null ? -1 : offsets.getPullOffset();
    }

    /**
     * Whether messages in flight keep a queue from being popped in order: there are messages behind the group's offset, and yet
     * the broker says that there is none to pop.
     */
    boolean blocked(String group, String topic, int queue) {
        if (maxOffset(topic, queue) <= Math.max(committed(group, topic, queue), 0)) {
            return false;
        }
        NotificationRequestHeader header = new NotificationRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(queue);
        header.setOrder(true);
        header.setBornTime(System.currentTimeMillis());
        RemotingCommand request = RemotingCommand.createRequestCommand(RequestCode.NOTIFICATION, header);
        RemotingCommand reply = ask(admin -> client(admin).getRemotingClient().invokeSync(address, request, TIMEOUT_MS));
        if (reply.getCode() != ResponseCode.SUCCESS) {
            throw new AssertionError(broker + " answers a notification with " + reply);
        }
        return !this.<NotificationResponseHeader>ask(admin ->
            (NotificationResponseHeader) reply.decodeCommandCustomHeader(NotificationResponseHeader.class)).isHasMsg();
    }

    ConcurrentMap<String, TopicConfig> topics() {
        return ask(admin -> client(admin).getAllTopicConfig(address, TIMEOUT_MS).getTopicConfigTable());
    }

    void update(TopicConfig topic) {
        run(admin -> admin.createAndUpdateTopicConfig(address, topic));
    }

    /** The group, null if there is none. */
    SubscriptionGroupConfig group(String name) {
        Map<String, SubscriptionGroupConfig> groups = ask(admin ->
            client(admin).getAllSubscriptionGroup(address, TIMEOUT_MS).getSubscriptionGroupTable());
        return groups.get(name);
    }

    void update(SubscriptionGroupConfig group) {
        run(admin -> admin.createAndUpdateSubscriptionGroupConfig(address, group));
    }

    Properties settings() {
        return ask(admin -> admin.getBrokerConfig(address));
    }

    void change(Properties settings) {
        run(admin -> admin.updateBrokerConfig(address, settings));
    }

    private interface Question<T> {
        T of(DefaultMQAdminExt admin) throws Exception;
    }

    private interface Order {
        void to(DefaultMQAdminExt admin) throws Exception;
    }

    private void run(Order order) {
        ask(admin -> {
            order.to(admin);
            return null;
        });
    }

    private <T> T ask(Question<T> question) {
        try {
            return question.of(admin());
        } catch (Exception error) {
            throw new AssertionError(broker + " does not answer as expected", error);
        }
    }

    private static MQClientAPIImpl client(DefaultMQAdminExt admin) {
        return admin.getDefaultMQAdminExtImpl().getMqClientInstance().getMQClientAPIImpl();
    }

    private static synchronized DefaultMQAdminExt admin() throws Exception {
        if (admin == null) {
            DefaultMQAdminExt starting = new DefaultMQAdminExt(TIMEOUT_MS);
            starting.setInstanceName("remote");
            starting.setNamesrvAddr(BaseConf.NAMESRV_ADDR);
            starting.start();
            admin = starting;
        }
        return admin;
    }
}
