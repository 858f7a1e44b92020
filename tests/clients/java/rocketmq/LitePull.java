import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * {@code lite NAMESRV TOPIC GROUP --expect N [--tag "a || b" | --light QUEUE --skip OFFSET] [--timeout-s S]}: polls as a lite pull
 * consumer, prints each message, and commits what it has. With --light it pulls from a light queue instead, beginning at an offset, and
 * commits nothing: a lite pull consumer would commit the offsets that messages have in the topic.
 */
final class LitePull {
    private LitePull() {
    }

    static boolean run(Arguments arguments) throws Exception {
        if (arguments.has("light")) {
            return pullLight(arguments);
        }
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(arguments.at(3, "GROUP"));
        Client.reach(consumer, arguments);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setAutoCommit(false);
        consumer.subscribe(arguments.at(2, "TOPIC"), arguments.text("tag", "*"));
        consumer.start();
        int missing = arguments.number("expect", 0);
        long deadline = System.nanoTime() + arguments.number("timeout-s", 120) * 1_000_000_000L;
        while (missing > 0 && System.nanoTime() < deadline) {
            List<MessageExt> messages = consumer.poll(500);
            messages.forEach(Consume::print);
            missing -= messages.size();
        }
        consumer.commitSync();
        consumer.shutdown();
        if (missing > 0) {
            Json.line("TIMEOUT " + missing + " missing");
        }
        return missing <= 0;
    }

    /** A light queue has no route; the client knows its broker once it asked that about a queue of another topic. */
    @SuppressWarnings("deprecation")
    private static boolean pullLight(Arguments arguments) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(arguments.at(3, "GROUP"));
        Client.reach(consumer, arguments);
        consumer.start();
        MessageQueue queue = consumer.fetchSubscribeMessageQueues(arguments.at(2, "TOPIC")).iterator().next();
        consumer.minOffset(queue);
        MessageQueue light = new MessageQueue(arguments.text("light", ""), queue.getBrokerName(), 0);
        long offset = arguments.number("skip", 0);
        int missing = arguments.number("expect", 0);
        long deadline = System.nanoTime() + arguments.number("timeout-s", 120) * 1_000_000_000L;
        while (missing > 0 && System.nanoTime() < deadline) {
            PullResult pulled = consumer.pullBlockIfNotFound(light, "*", offset, 32);
            offset = pulled.getNextBeginOffset();
            if (pulled.getPullStatus() == PullStatus.FOUND) {
                pulled.getMsgFoundList().forEach(Consume::print);
                missing -= pulled.getMsgFoundList().size();
            }
        }
        consumer.shutdown();
        return missing <= 0;
    }
}
