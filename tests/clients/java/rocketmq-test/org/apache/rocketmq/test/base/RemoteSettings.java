package org.apache.rocketmq.test.base;

import java.util.Map;
import java.util.Properties;
import org.apache.rocketmq.common.BrokerConfig;

/**
 * Settings of a broker that runs elsewhere: those that tests change are changed there, by request UPDATE_BROKER_CONFIG.
 *
 * <p>A setting that the broker does not list stays as it is there, which the class's output says. Those are settings that choose
 * between RocketMQ's ways to the same end (such as popConsumerKVServiceEnable); what the test then expects is expected all the same.
 */
final class RemoteSettings extends BrokerConfig {
    /**
     * Settings with which the tests' own brokers start (IntegrationTestBase.createAndStartBroker, 5.5.0), of those that a running
     * broker takes.
     */
    private static final Map<String, String> AT_START =
        Map.of("maxTransferCountOnMessageInMemory", "1024", "maxTransferCountOnMessageInDisk", "1024", "recallMessageEnable", "true");

    private final RemoteConnection broker;
    private final Properties before = new Properties();
    private Properties listed;

    RemoteSettings(RemoteConnection broker) {
        this.broker = broker;
    }

    /** The settings as they are when the first test begins. */
    synchronized void begin() {
        listed = broker.settings();
        Properties wanted = new Properties();
        AT_START.forEach((name, value) -> {
            if (!listed.getProperty(name, value).equals(value)) {
                wanted.setProperty(name, value);
            }
        });
        if (!wanted.isEmpty()) {
            broker.change(wanted);
        }
    }

    /** Changes back what tests changed. */
    synchronized void restore() {
        if (!before.isEmpty()) {
            broker.change(before);
            before.clear();
        }
    }

    /** Changes a setting in the broker, which has those of its store among its own. */
    synchronized void change(String name, Object value) {
        String was = listed.getProperty(name);
        if (was == null) {
            System.out.println("SETTING " + name + "=" + value + " is none of " + getBrokerName());
            return;
        }
        before.putIfAbsent(name, was);
        Properties wanted = new Properties();
        wanted.setProperty(name, String.valueOf(value));
        broker.change(wanted);
    }

    @Override
    public void setEnablePopBufferMerge(boolean on) {
        super.setEnablePopBufferMerge(on);
        change("enablePopBufferMerge", on);
    }

    @Override
    public void setEnableSingleTopicRegister(boolean on) {
        super.setEnableSingleTopicRegister(on);
        change("enableSingleTopicRegister", on);
    }

    @Override
    public void setEnableSplitRegistration(boolean on) {
        super.setEnableSplitRegistration(on);
        change("enableSplitRegistration", on);
    }

    @Override
    public void setEstimateAccumulation(boolean on) {
        super.setEstimateAccumulation(on);
        change("estimateAccumulation", on);
    }

    @Override
    public void setLongPollingEnable(boolean on) {
        super.setLongPollingEnable(on);
        change("longPollingEnable", on);
    }

    @Override
    public void setPopConsumerKVServiceEnable(boolean on) {
        super.setPopConsumerKVServiceEnable(on);
        change("popConsumerKVServiceEnable", on);
    }

    @Override
    public void setPopFromRetryProbabilityForPriority(int percent) {
        super.setPopFromRetryProbabilityForPriority(percent);
        change("popFromRetryProbabilityForPriority", percent);
    }

    @Override
    public void setPriorityOrderAsc(boolean on) {
        super.setPriorityOrderAsc(on);
        change("priorityOrderAsc", on);
    }

    @Override
    public void setShortPollingTimeMills(long milliseconds) {
        super.setShortPollingTimeMills(milliseconds);
        change("shortPollingTimeMills", milliseconds);
    }

    @Override
    public void setTransactionCheckInterval(long milliseconds) {
        super.setTransactionCheckInterval(milliseconds);
        change("transactionCheckInterval", milliseconds);
    }

    @Override
    public void setUseSeparateRetryQueue(boolean on) {
        super.setUseSeparateRetryQueue(on);
        change("useSeparateRetryQueue", on);
    }

    @Override
    public void setUseServerSideResetOffset(boolean on) {
        super.setUseServerSideResetOffset(on);
        change("useServerSideResetOffset", on);
    }
}
