import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * {@code lite NAMESRV TOPIC GROUP --expect N [--tag "a || b"] [--timeout-s S]}: polls as a lite pull consumer, prints each message, and
 * commits what it has.
 */
final class LitePull {
    private LitePull() {
    }

    static boolean run(Arguments arguments) throws Exception {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(arguments.at(3, "GROUP"));
        consumer.setNamesrvAddr(arguments.at(1, "NAMESRV"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setAutoCommit(false);
        consumer.subscribe(arguments.at(2, "TOPIC"), arguments.text("tag", "*"));
        consumer.start();
        int missing = arguments.number("expect", 0);
        long deadline = System.nanoTime() + arguments.number("timeout-s", 60) * 1_000_000_000L;
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
}
