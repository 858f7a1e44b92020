import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * With --recall, each message is taken back as soon as it is sent (since 5.4).
 * {@code produce NAMESRV TOPIC COUNT [--body TEXT | --body-size N] [--tag T] [--key K] [--prop k=v]... [--batch] [--oneway]
 * [--system k=v]... [--priority N] [--queue N] [--delay-level N | --delay-ms N] [--recall] [--threads N] [--timeout-ms N] [--retries N] [--group G] [--serialize json|rocketmq]}
 * --system sets properties that are not an application's to set; --priority does so in 4.9, which has no call for it.
 */
final class Produce {
    private final Arguments arguments;
    private final DefaultMQProducer producer;
    private final String topic;
    private final int count;

    private Produce(Arguments arguments) {
        this.arguments = arguments;
        this.topic = arguments.at(2, "TOPIC");
        this.count = Integer.parseInt(arguments.at(3, "COUNT"));
        producer = new DefaultMQProducer(arguments.text("group", "test_producer"));
        Client.reach(producer, arguments);
        producer.setSendMsgTimeout(arguments.number("timeout-ms", Client.PATIENCE_MS));
        producer.setRetryTimesWhenSendFailed(arguments.number("retries", 2));
    }

    static boolean run(Arguments arguments) throws Exception {
        Produce produce = new Produce(arguments);
        produce.producer.start();
        Client.awaitNameServer(produce.producer, produce.topic);
        try {
            return arguments.has("batch") ? produce.sendBatch() : produce.sendEach();
        } finally {
            produce.producer.shutdown();
        }
    }

    private boolean sendBatch() throws ReflectiveOperationException {
        List<Message> messages = new ArrayList<>();
        for (int index = 0; index < count; index++) {
            messages.add(message(index));
        }
        try {
            MessageQueue queue = queue();
            printResult(0, queue == null ? producer.send(messages) : producer.send(messages, queue));
            return true;
        } catch (Exception error) {
            Client.printError(0, error);
            return false;
        }
    }

    private boolean sendEach() throws Exception {
        AtomicInteger next = new AtomicInteger();
        AtomicBoolean good = new AtomicBoolean(true);
        int threads = arguments.number("threads", 1);
        CountDownLatch done = new CountDownLatch(threads);
        for (int thread = 0; thread < threads; thread++) {
            new Thread(() -> {
                for (int index = next.getAndIncrement(); index < count; index = next.getAndIncrement()) {
                    if (!sendOne(index)) {
                        good.set(false);
                    }
                }
                done.countDown();
            }).start();
        }
        done.await();
        return good.get();
    }

    private boolean sendOne(int index) {
        try {
            Message message = message(index);
            MessageQueue queue = queue();
            if (arguments.has("oneway")) {
                if (queue == null) {
                    producer.sendOneway(message);
                } else {
                    producer.sendOneway(message, queue);
                }
                new Json().with("index", index).with("status", "ONEWAY").print();
            } else {
                SendResult result = queue == null ? producer.send(message) : producer.send(message, queue);
                printResult(index, result);
                if (arguments.has("recall")) {
                    recall(index, result);
                }
            }
            return true;
        } catch (Exception error) {
            Client.printError(index, error);
            return false;
        }
    }

    /** What 4.9 does not have. */
    private void recall(int index, SendResult result) throws ReflectiveOperationException {
        Object handle = SendResult.class.getMethod("getRecallHandle").invoke(result);
        Object id = DefaultMQProducer.class
            .getMethod("recallMessage", String.class, String.class)
            .invoke(producer, topic, handle);
        new Json().with("index", index).with("recalled", id).print();
    }

    private Message message(int index) throws ReflectiveOperationException {
        Message message = new Message(topic, body(index));
        if (arguments.has("tag")) {
            message.setTags(numbered(arguments.text("tag", ""), index));
        }
        if (arguments.has("key")) {
            message.setKeys(numbered(arguments.text("key", ""), index));
        }
        if (arguments.has("delay-level")) {
            message.setDelayTimeLevel(arguments.number("delay-level", 0));
        }
        if (arguments.has("delay-ms")) {
            MessageAccessor.putProperty(message, "TIMER_DELAY_MS", arguments.text("delay-ms", ""));
        }
        if (arguments.has("priority")) {
            setPriority(message, numbered(arguments.text("priority", ""), index));
        }
        for (String property : arguments.all("system")) {
            String[] parts = property.split("=", 2);
            MessageAccessor.putProperty(message, parts[0], numbered(parts[1], index));
        }
        for (String property : arguments.all("prop")) {
            String[] parts = property.split("=", 2);
            message.putUserProperty(parts[0], numbered(parts[1], index));
        }
        return message;
    }

    private static void setPriority(Message message, String priority) throws ReflectiveOperationException {
        try {
            Message.class.getMethod("setPriority", int.class).invoke(message, Integer.parseInt(priority));
        } catch (NoSuchMethodException notYet) {
            MessageAccessor.putProperty(message, "_SYS_MSG_PRIORITY_", priority);
        }
    }

    private byte[] body(int index) {
        if (arguments.has("body-size")) {
            byte[] body = new byte[arguments.number("body-size", 0)];
            for (int at = 0; at < body.length; at++) {
                body[at] = (byte) ('a' + (at + index) % 26);
            }
            return body;
        }
        return numbered(arguments.text("body", "message-{i}"), index).getBytes(StandardCharsets.UTF_8);
    }

    private MessageQueue queue() throws Exception {
        if (!arguments.has("queue")) {
            return null;
        }
        int wanted = arguments.number("queue", 0);
        return producer.fetchPublishMessageQueues(topic).stream()
            .filter(queue -> queue.getQueueId() == wanted)
            .findFirst()
            .orElseThrow(() -> new IllegalArgumentException("topic " + topic + " has no queue " + wanted));
    }

    private static String numbered(String template, int index) {
        return template.replace("{i}", Integer.toString(index));
    }

    private static void printResult(int index, SendResult result) {
        new Json()
            .with("index", index)
            .with("status", result.getSendStatus())
            .with("msgId", result.getMsgId())
            .with("offsetMsgId", result.getOffsetMsgId())
            .with("topic", result.getMessageQueue().getTopic())
            .with("broker", result.getMessageQueue().getBrokerName())
            .with("queueId", result.getMessageQueue().getQueueId())
            .with("queueOffset", result.getQueueOffset())
            .print();
    }
}
