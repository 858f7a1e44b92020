package org.apache.rocketmq.test.base;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.broker.BrokerController;
import org.apache.rocketmq.client.consumer.MQPullConsumer;
import org.apache.rocketmq.client.consumer.MQPushConsumer;
import org.apache.rocketmq.client.impl.consumer.RebalanceImpl;
import org.apache.rocketmq.client.producer.MQProducer;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.common.MQVersion;
import org.apache.rocketmq.common.attribute.CQType;
import org.apache.rocketmq.common.attribute.TopicMessageType;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.namesrv.NamesrvConfig;
import org.apache.rocketmq.namesrv.NamesrvController;
import org.apache.rocketmq.remoting.netty.NettyServerConfig;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.store.config.MessageStoreConfig;
import org.apache.rocketmq.test.client.rmq.RMQAsyncSendProducer;
import org.apache.rocketmq.test.client.rmq.RMQNormalConsumer;
import org.apache.rocketmq.test.client.rmq.RMQNormalProducer;
import org.apache.rocketmq.test.client.rmq.RMQTransactionalProducer;
import org.apache.rocketmq.test.clientinterface.AbstractMQConsumer;
import org.apache.rocketmq.test.clientinterface.AbstractMQProducer;
import org.apache.rocketmq.test.clientinterface.MQConsumer;
import org.apache.rocketmq.test.factory.ConsumerFactory;
import org.apache.rocketmq.test.listener.AbstractListener;
import org.apache.rocketmq.test.util.MQAdminTestUtils;
import org.apache.rocketmq.test.util.MQRandomUtils;
import org.apache.rocketmq.test.util.TestUtils;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.apache.rocketmq.tools.admin.MQAdminExt;

import static org.awaitility.Awaitility.await;

/**
 * Stands in for the class of this name in rocketmq-test 5.5.0, whose integration tests extend it: the tests then run against
 * a cluster that is there already, instead of against brokers inside their own process.
 *
 * <p>The cluster is told in system properties: {@code test.namesrv} is the name server's address, {@code test.cluster} the
 * cluster's name, and {@code test.brokers} its brokers as {@code name=host:port,name=host:port,...}. With fewer than three
 * brokers the tests' second and third broker are the last one once more.
 *
 * <p>The broker controllers are {@link RemoteBroker}s: tests that look deeper into a broker's memory than requests can fail.
 */
public class BaseConf {
    public final static String NAMESRV_ADDR = System.getProperty("test.namesrv");

    protected final static String CLUSTER_NAME = System.getProperty("test.cluster", "DefaultCluster");
    protected final static String BROKER1_NAME;
    protected final static String BROKER2_NAME;
    protected final static String BROKER3_NAME;

    protected final static int BROKER_NUM = 3;
    protected final static int WAIT_TIME = 5;
    protected final static int CONSUME_TIME = 2 * 60 * 1000;
    protected final static int QUEUE_NUMBERS = 8;

    protected static NamesrvController namesrvController;
    protected static BrokerController brokerController1;
    protected static BrokerController brokerController2;
    protected static BrokerController brokerController3;
    protected static List<BrokerController> brokerControllerList = new ArrayList<>();
    protected static Map<String, BrokerController> brokerControllerMap = new TreeMap<>();

    protected static List<Object> mqClients = new ArrayList<>();
    protected static boolean debug = false;

    static {
        System.setProperty(RemotingCommand.REMOTING_VERSION_KEY, Integer.toString(MQVersion.CURRENT_VERSION));
        for (String broker : System.getProperty("test.brokers").split(",")) {
            String[] nameAndAddress = broker.split("=");
            BrokerController controller = controllerOf(nameAndAddress[0], nameAndAddress[1]);
            brokerControllerList.add(controller);
            brokerControllerMap.put(nameAndAddress[0], controller);
        }
        int last = brokerControllerList.size() - 1;
        brokerController1 = brokerControllerList.get(0);
        brokerController2 = brokerControllerList.get(Math.min(1, last));
        brokerController3 = brokerControllerList.get(Math.min(2, last));
        BROKER1_NAME = brokerController1.getBrokerConfig().getBrokerName();
        BROKER2_NAME = brokerController2.getBrokerConfig().getBrokerName();
        BROKER3_NAME = brokerController3.getBrokerConfig().getBrokerName();
        namesrvController = new NamesrvController(new NamesrvConfig(), serverAt(NAMESRV_ADDR));
        IntegrationTestBase.initMQAdmin(NAMESRV_ADDR);
    }

    public BaseConf() {
        waitBrokerRegistered(NAMESRV_ADDR, CLUSTER_NAME, brokerControllerList.size());
    }

    /** Waits until the name server knows all brokers, whatever number the test expects. */
    public static void waitBrokerRegistered(String nsAddr, String clusterName, int expectedBrokerNum) {
        DefaultMQAdminExt admin = new DefaultMQAdminExt(5000);
        admin.setNamesrvAddr(nsAddr);
        try {
            admin.start();
            await().atMost(30, TimeUnit.SECONDS).ignoreExceptions().until(() ->
                admin.examineBrokerClusterInfo().getClusterAddrTable().get(clusterName).size() >= brokerControllerMap.size());
        } catch (Exception error) {
            throw new AssertionError("the brokers are not registered", error);
        }
        ForkJoinPool.commonPool().execute(admin::shutdown);
    }

    /** Whether all messages are indexed: a broker elsewhere answers only after that, or soon after. */
    public boolean awaitDispatchMs(long timeMs) throws Exception {
        Thread.sleep(Math.min(timeMs, 500));
        return true;
    }

    public static String initTopic() {
        return initTopicWithName(MQRandomUtils.getRandomTopic());
    }

    public static String initTopic(TopicMessageType type) {
        return initTopicWithName(MQRandomUtils.getRandomTopic(), type);
    }

    public static String initTopicOnSampleTopicBroker(String sampleTopic) {
        return initTopicOnSampleTopicBroker(MQRandomUtils.getRandomTopic(), sampleTopic);
    }

    public static String initTopicOnSampleTopicBroker(String sampleTopic, TopicMessageType type) {
        return initTopicOnSampleTopicBroker(MQRandomUtils.getRandomTopic(), sampleTopic, type);
    }

    public static String initTopicWithName(String topic) {
        IntegrationTestBase.initTopic(topic, NAMESRV_ADDR, CLUSTER_NAME, CQType.SimpleCQ);
        return topic;
    }

    public static String initTopicWithName(String topic, TopicMessageType type) {
        IntegrationTestBase.initTopic(topic, NAMESRV_ADDR, CLUSTER_NAME, type);
        return topic;
    }

    public static String initTopicOnSampleTopicBroker(String topic, String sampleTopic) {
        IntegrationTestBase.initTopic(topic, NAMESRV_ADDR, sampleTopic, CQType.SimpleCQ);
        return topic;
    }

    public static String initTopicOnSampleTopicBroker(String topic, String sampleTopic, TopicMessageType type) {
        IntegrationTestBase.initTopic(topic, NAMESRV_ADDR, sampleTopic, type);
        return topic;
    }

    public static String initConsumerGroup() {
        return initConsumerGroup(MQRandomUtils.getRandomConsumerGroup());
    }

    public static String initConsumerGroup(String group) {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        return initConsumerGroup(config);
    }

    public static String initConsumerGroup(SubscriptionGroupConfig config) {
        MQAdminTestUtils.createSub(NAMESRV_ADDR, CLUSTER_NAME, config);
        return config.getGroupName();
    }

    public static DefaultMQAdminExt getAdmin(String nsAddr) {
        DefaultMQAdminExt admin = new DefaultMQAdminExt(3 * 1000);
        admin.setNamesrvAddr(nsAddr);
        admin.setPollNameServerInterval(100);
        return kept(admin);
    }

    public static RMQNormalProducer getProducer(String nsAddr, String topic) {
        return getProducer(nsAddr, topic, false);
    }

    public static RMQNormalProducer getProducer(String nsAddr, String topic, boolean useTLS) {
        return kept(new RMQNormalProducer(nsAddr, topic, useTLS));
    }

    public static RMQNormalProducer getProducer(String nsAddr, String topic, String group, String instanceName) {
        return kept(new RMQNormalProducer(nsAddr, topic, group, instanceName));
    }

    public static RMQTransactionalProducer getTransactionalProducer(String nsAddr, String topic, TransactionListener listener) {
        return kept(new RMQTransactionalProducer(nsAddr, topic, false, listener));
    }

    public static RMQAsyncSendProducer getAsyncProducer(String nsAddr, String topic) {
        return kept(new RMQAsyncSendProducer(nsAddr, topic));
    }

    public static RMQNormalConsumer getConsumer(String nsAddr, String topic, String subExpression, AbstractListener listener) {
        return getConsumer(nsAddr, topic, subExpression, listener, false);
    }

    public static RMQNormalConsumer getConsumer(String nsAddr, String topic, String subExpression,
        AbstractListener listener, boolean useTLS) {
        return getConsumer(nsAddr, initConsumerGroup(), topic, subExpression, listener, useTLS);
    }

    public static RMQNormalConsumer getConsumer(String nsAddr, String group, String topic, String subExpression,
        AbstractListener listener) {
        return getConsumer(nsAddr, group, topic, subExpression, listener, false);
    }

    @SuppressWarnings("deprecation")
    public static RMQNormalConsumer getConsumer(String nsAddr, String group, String topic, String subExpression,
        AbstractListener listener, boolean useTLS) {
        RMQNormalConsumer consumer = kept(ConsumerFactory.getRMQNormalConsumer(nsAddr, group, topic, subExpression, listener, useTLS));
        awaitQueues(consumer.getConsumer().getDefaultMQPushConsumerImpl().getRebalanceImpl(), topic);
        return consumer;
    }

    /**
     * Waits until a consumer knows where it begins in its queues, for some seconds at most. In a queue without messages it hears
     * that its group has no offset, and asks for the queue's end; on a busy machine a message that the test sends meanwhile would
     * lie before that end.
     */
    private static void awaitQueues(RebalanceImpl rebalance, String topic) {
        int known = 0;
        int unchanged = 0;
        for (int round = 0; round < 200; round++) {
            int now = (int) rebalance.getProcessQueueTable().keySet().stream().filter(queue -> queue.getTopic().equals(topic)).count();
            Set<MessageQueue> all = rebalance.getTopicSubscribeInfoTable().get(topic);
            unchanged = now == known ? unchanged + 1 : 0;
            known = now;
            // Another consumer of the group has the others.
            if (now > 0 && (all != null && now >= all.size() || unchanged >= 40)) {
                return;
            }
            TestUtils.waitForMoment(50);
        }
    }

    public static Set<String> getBrokers() {
        return new HashSet<>(brokerControllerMap.keySet());
    }

    public static void shutdown() {
        List<Object> clients = List.copyOf(mqClients);
        mqClients.clear();
        shutdown(clients);
    }

    public static void shutdown(List<Object> clients) {
        clients.forEach(client -> ForkJoinPool.commonPool().execute(() -> stop(client)));
    }

    private static void stop(Object client) {
        if (client instanceof AbstractMQProducer) {
            ((AbstractMQProducer) client).shutdown();
        } else if (client instanceof AbstractMQConsumer) {
            ((AbstractMQConsumer) client).shutdown();
        } else if (client instanceof MQAdminExt) {
            ((MQAdminExt) client).shutdown();
        } else if (client instanceof MQProducer) {
            ((MQProducer) client).shutdown();
        } else if (client instanceof MQPullConsumer) {
            ((MQPullConsumer) client).shutdown();
        } else if (client instanceof MQPushConsumer) {
            ((MQPushConsumer) client).shutdown();
        } else if (client instanceof MQConsumer) {
            ((MQConsumer) client).shutdown();
        }
    }

    /** A client that {@link #shutdown()} stops. */
    private static <T> T kept(T client) {
        mqClients.add(client);
        return client;
    }

    /** Changes back what tests changed in the brokers. */
    public static void restore() {
        brokerControllerList.forEach(controller -> ((RemoteBroker) controller).restore());
    }

    private static BrokerController controllerOf(String name, String address) {
        RemoteConnection broker = new RemoteConnection(name, address);
        RemoteSettings settings = new RemoteSettings(broker);
        settings.setBrokerName(name);
        settings.setBrokerClusterName(CLUSTER_NAME);
        settings.setBrokerIP1(address.split(":")[0]);
        settings.setNamesrvAddr(NAMESRV_ADDR);
        settings.begin();
        MessageStoreConfig store = new MessageStoreConfig() {
            @Override
            public void setAppendTopicForTimerDeleteKey(boolean on) {
                super.setAppendTopicForTimerDeleteKey(on);
                settings.change("appendTopicForTimerDeleteKey", on);
            }
        };
        store.setStorePathRootDir(IntegrationTestBase.createBaseDir());
        return new RemoteBroker(broker, settings, serverAt(address), store);
    }

    private static NettyServerConfig serverAt(String address) {
        NettyServerConfig server = new NettyServerConfig();
        server.setListenPort(Integer.parseInt(address.split(":")[1]));
        return server;
    }
}
