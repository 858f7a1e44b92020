package org.apache.rocketmq.test.base;

import java.util.concurrent.ConcurrentMap;
import org.apache.rocketmq.broker.BrokerController;
import org.apache.rocketmq.broker.offset.ConsumerOffsetManager;
import org.apache.rocketmq.broker.pop.orderly.ConsumerOrderInfoManager;
import org.apache.rocketmq.broker.pop.orderly.QueueLevelConsumerManager;
import org.apache.rocketmq.broker.subscription.SubscriptionGroupManager;
import org.apache.rocketmq.broker.topic.TopicConfigManager;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.netty.NettyServerConfig;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.store.MessageStore;
import org.apache.rocketmq.store.config.MessageStoreConfig;

/**
 * A controller of a broker that runs elsewhere. It was never started: it knows the broker's name and address. What tests ask its
 * parts for, and what they change there, it asks the broker for and changes there by requests ({@link RemoteConnection}); all
 * else is not there.
 */
final class RemoteBroker extends BrokerController {
    private final RemoteSettings settings;
    private final TopicConfigManager topics;
    private final SubscriptionGroupManager groups;
    private final ConsumerOffsetManager offsets;
    private final ConsumerOrderInfoManager orders;
    private final MessageStore store;

    RemoteBroker(RemoteConnection broker, RemoteSettings settings, NettyServerConfig server, MessageStoreConfig files) {
        super(settings, server, new NettyClientConfig(), files);
        this.settings = settings;
        store = RemoteStore.of(broker);
        topics = new TopicConfigManager(this) {
            @Override
            public ConcurrentMap<String, TopicConfig> getTopicConfigTable() {
                return broker.topics();
            }

            @Override
            public void updateTopicConfig(TopicConfig topic) {
                broker.update(topic);
            }
        };
        groups = new SubscriptionGroupManager(this) {
            /** One that is not there is made, as by a broker that creates groups on first use. */
            @Override
            public SubscriptionGroupConfig findSubscriptionGroupConfig(String name) {
                SubscriptionGroupConfig group = broker.group(name);
                if (group == null) {
                    group = new SubscriptionGroupConfig();
                    group.setGroupName(name);
                    broker.update(group);
                }
                return group;
            }

            @Override
            public void updateSubscriptionGroupConfig(SubscriptionGroupConfig group) {
                broker.update(group);
            }
        };
        offsets = new ConsumerOffsetManager(this) {
            @Override
            public long queryOffset(String group, String topic, int queue) {
                return broker.committed(group, topic, queue);
            }

            @Override
            public long queryPullOffset(String group, String topic, int queue) {
                return broker.pulled(group, topic, queue);
            }
        };
        orders = new QueueLevelConsumerManager(this) {
            @Override
            public boolean checkBlock(String attempt, String topic, String group, int queue, long invisibleMs) {
                return broker.blocked(group, topic, queue);
            }
        };
    }

    /** Changes back the settings that tests changed. */
    void restore() {
        settings.restore();
    }

    @Override
    public MessageStore getMessageStore() {
        return store;
    }

    // The constructor of the controller asks for its parts already.

    @Override
    public TopicConfigManager getTopicConfigManager() {
        return topics == null ? super.getTopicConfigManager() : topics;
    }

    @Override
    public SubscriptionGroupManager getSubscriptionGroupManager() {
        return groups == null ? super.getSubscriptionGroupManager() : groups;
    }

    @Override
    public ConsumerOffsetManager getConsumerOffsetManager() {
        return offsets == null ? super.getConsumerOffsetManager() : offsets;
    }

    @Override
    public ConsumerOrderInfoManager getConsumerOrderInfoManager() {
        return orders == null ? super.getConsumerOrderInfoManager() : orders;
    }

    @Override
    public void registerServerRPCHook(RPCHook hook) {
        throw new UnsupportedOperationException("no request puts a hook into a broker");
    }

    /** A broker elsewhere tells the name servers of its topics itself. */
    @Override
    public synchronized void registerBrokerAll(boolean checkOrder, boolean oneway, boolean force) {
    }
}
