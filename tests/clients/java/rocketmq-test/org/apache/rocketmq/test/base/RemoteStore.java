package org.apache.rocketmq.test.base;

import java.lang.reflect.Constructor;
import java.util.Set;
import org.apache.rocketmq.store.DefaultMessageStore;
import org.apache.rocketmq.store.MessageFilter;

/**
 * The store of a broker that runs elsewhere, as far as tests ask it: offsets, by request. What is not here is not there at all,
 * since no constructor of the store ran; tests want it to be of this class.
 */
final class RemoteStore extends DefaultMessageStore {
    private RemoteConnection broker;

    /** Never called: the store's constructor makes files and threads. */
    private RemoteStore() throws Exception {
        super(null, null, null, null, null);
    }

    static RemoteStore of(RemoteConnection broker) {
        try {
            // By reflection, since the compiler warns of the class.
            Class<?> factory = Class.forName("sun.reflect.ReflectionFactory");
            Constructor<?> bare = (Constructor<?>) factory
                .getMethod("newConstructorForSerialization", Class.class, Constructor.class)
                .invoke(factory.getMethod("getReflectionFactory").invoke(null), RemoteStore.class, Object.class.getConstructor());
            RemoteStore store = (RemoteStore) bare.newInstance();
            store.broker = broker;
            return store;
        } catch (ReflectiveOperationException error) {
            throw new AssertionError(error);
        }
    }

    @Override
    public long getMaxOffsetInQueue(String topic, int queue) {
        return broker.maxOffset(topic, queue);
    }

    @Override
    public long getMinOffsetInQueue(String topic, int queue) {
        return broker.minOffset(topic, queue);
    }

    /** A broker elsewhere answers only when its indexes are there, or soon after: see {@link BaseConf#awaitDispatchMs}. */
    @Override
    public long dispatchBehindBytes() {
        return 0;
    }

    @Override
    public long estimateMessageCount(String topic, int queue, long from, long to, MessageFilter filter) {
        throw new UnsupportedOperationException("no request asks for this");
    }

    @Override
    public int cleanUnusedTopic(Set<String> kept) {
        throw new UnsupportedOperationException("no request does this with topics that are in use");
    }
}
