package org.apache.rocketmq.test.base;

import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import org.apache.rocketmq.broker.BrokerController;
import org.apache.rocketmq.broker.offset.ConsumerOffsetManager;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.common.BrokerConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyServerConfig;
import org.apache.rocketmq.remoting.protocol.header.QueryConsumerOffsetRequestHeader;
import org.apache.rocketmq.store.MessageStore;
import org.apache.rocketmq.store.config.MessageStoreConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/**
 * A controller of a broker that runs elsewhere. It was never started: it knows its name and address, and takes settings that
 * go nowhere. What tests ask its store and its offsets for, it asks the broker for; all else is not there.
 */
final class RemoteBroker extends BrokerController {
    private static final long TIMEOUT_MS = 5000;

    private final MessageStore store;
    private final ConsumerOffsetManager offsets;
    private DefaultMQAdminExt admin;

    RemoteBroker(BrokerConfig config, NettyServerConfig server, MessageStoreConfig files) {
        super(config, server, new NettyClientConfig(), files);
        Class<?>[] interfaces = {MessageStore.class};
        store = (MessageStore) Proxy.newProxyInstance(getClass().getClassLoader(), interfaces, (proxy, method, arguments) -> ask(method, arguments));
        offsets = new ConsumerOffsetManager(this) {
            @Override
            public long queryOffset(String group, String topic, int queue) {
                return committed(group, topic, queue);
            }
        };
    }

    @Override
    public MessageStore getMessageStore() {
        return store;
    }

    @Override
    public ConsumerOffsetManager getConsumerOffsetManager() {
        // The constructor of the controller asks already.
        return offsets == null ? super.getConsumerOffsetManager() : offsets;
    }

    private Object ask(Method method, Object[] arguments) throws Exception {
        switch (method.getName()) {
            case "getMaxOffsetInQueue":
                return admin().maxOffset(queueOf(arguments));
            case "getMinOffsetInQueue":
                return admin().minOffset(queueOf(arguments));
            case "dispatchBehindBytes":
            case "getStateMachineVersion":
                return 0L;
            default:
                throw new UnsupportedOperationException("the store of a broker elsewhere: " + method.getName());
        }
    }

    private MessageQueue queueOf(Object[] topicAndQueue) {
        return new MessageQueue((String) topicAndQueue[0], getBrokerConfig().getBrokerName(), (Integer) topicAndQueue[1]);
    }

    /** The group's offset, -1 if there is none. */
    private long committed(String group, String topic, int queue) {
        QueryConsumerOffsetRequestHeader header = new QueryConsumerOffsetRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(queue);
        header.setSetZeroIfNotFound(false);
        try {
            MQClientAPIImpl client = admin().getDefaultMQAdminExtImpl().getMqClientInstance().getMQClientAPIImpl();
            return client.queryConsumerOffset(getBrokerAddr(), header, TIMEOUT_MS);
        } catch (Exception error) {
            return -1;
        }
    }

    /** Started late: most tests ask nothing. */
    private synchronized DefaultMQAdminExt admin() throws Exception {
        if (admin == null) {
            DefaultMQAdminExt starting = new DefaultMQAdminExt(TIMEOUT_MS);
            starting.setInstanceName("remote-" + getBrokerConfig().getBrokerName());
            starting.setNamesrvAddr(getBrokerConfig().getNamesrvAddr());
            starting.start();
            admin = starting;
        }
        return admin;
    }
}
