import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * {@code transact NAMESRV TOPIC COUNT --decide commit|rollback|unknown [--answer commit|rollback|unknown] [--checks N]
 * [--delay-level N] [--group G]}
 *
 * <p>Sends COUNT half messages and decides each as told. Prints a line per question of the broker, answers it as told, and ends
 * after N questions.
 */
final class Transact {
    private Transact() {}

    static boolean run(Arguments arguments) throws Exception {
        String topic = arguments.at(2, "TOPIC");
        int count = Integer.parseInt(arguments.at(3, "COUNT"));
        int checks = arguments.number("checks", 0);
        Listener listener =
            new Listener(state(arguments.text("decide", "commit")), state(arguments.text("answer", "commit")));
        TransactionMQProducer producer = new TransactionMQProducer(arguments.text("group", "test_transactions"));
        Client.reach(producer, arguments);
        producer.setTransactionListener(listener);
        producer.start();
        Client.awaitNameServer(producer, topic);
        try {
            for (int index = 0; index < count; index++) {
                Message message = new Message(topic, ("message-" + index).getBytes(StandardCharsets.UTF_8));
                if (arguments.has("delay-level")) {
                    message.setDelayTimeLevel(arguments.number("delay-level", 0));
                }
                new Json()
                    .with("index", index)
                    .with("state", producer.sendMessageInTransaction(message, null).getLocalTransactionState())
                    .print();
            }
            return listener.awaitChecks(checks, arguments.number("timeout-s", 120));
        } finally {
            // One-way requests are on their way.
            Thread.sleep(200);
            producer.shutdown();
        }
    }

    private static LocalTransactionState state(String name) {
        return switch (name) {
            case "commit" -> LocalTransactionState.COMMIT_MESSAGE;
            case "rollback" -> LocalTransactionState.ROLLBACK_MESSAGE;
            case "unknown" -> LocalTransactionState.UNKNOW;
            default -> throw new IllegalArgumentException("unknown decision " + name);
        };
    }

    private static final class Listener implements TransactionListener {
        private final LocalTransactionState decision;
        private final LocalTransactionState answer;
        private int checks;

        Listener(LocalTransactionState decision, LocalTransactionState answer) {
            this.decision = decision;
            this.answer = answer;
        }

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return decision;
        }

        @Override
        public synchronized LocalTransactionState checkLocalTransaction(MessageExt message) {
            new Json()
                .with("checked", message.getTransactionId())
                .with("topic", message.getTopic())
                .with("times", message.getUserProperty("TRANSACTION_CHECK_TIMES"))
                .print();
            checks++;
            notifyAll();
            return answer;
        }

        synchronized boolean awaitChecks(int wanted, int seconds) throws InterruptedException {
            long deadline = System.nanoTime() + seconds * 1_000_000_000L;
            while (checks < wanted) {
                long left = (deadline - System.nanoTime()) / 1_000_000;
                if (left <= 0) {
                    return false;
                }
                wait(left);
            }
            return true;
        }
    }
}
