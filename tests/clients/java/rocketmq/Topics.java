import java.lang.reflect.Method;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageQueue;

/** Topics and offsets through the calls that producers and consumers have for them. */
final class Topics {
    private Topics() {}

    /** {@code create-topic NAMESRV TOPIC [--queues N]} */
    static boolean create(Arguments arguments) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("test_admin");
        Client.reach(producer, arguments);
        producer.start();
        try {
            createTopic(producer, arguments.at(2, "TOPIC"), arguments.number("queues", 4));
            new Json().with("created", arguments.at(2, "TOPIC")).print();
            return true;
        } catch (ReflectiveOperationException error) {
            Client.printError(0, error.getCause() == null ? error : error.getCause());
            return false;
        } finally {
            producer.shutdown();
        }
    }

    /** 5.x has a further parameter, the topic's attributes; the key is the topic whose route tells the brokers. */
    private static void createTopic(DefaultMQProducer producer, String topic, int queues) throws ReflectiveOperationException {
        for (Method method : DefaultMQProducer.class.getMethods()) {
            if (!method.getName().equals("createTopic")) {
                continue;
            }
            if (method.getParameterCount() == 4 && method.getParameterTypes()[3] == Map.class) {
                method.invoke(producer, "TBW102", topic, queues, Map.of());
                return;
            }
            if (method.getParameterCount() == 3) {
                method.invoke(producer, "TBW102", topic, queues);
                return;
            }
        }
        throw new NoSuchMethodException("createTopic");
    }

    /** {@code offsets NAMESRV TOPIC [--group G] [--at MS]} */
    @SuppressWarnings("deprecation")
    static boolean offsets(Arguments arguments) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(arguments.text("group", "test_offsets"));
        Client.reach(consumer, arguments);
        consumer.start();
        try {
            for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(arguments.at(2, "TOPIC"))) {
                Json json = new Json()
                    .with("queueId", queue.getQueueId())
                    .with("min", consumer.minOffset(queue))
                    .with("max", consumer.maxOffset(queue));
                if (arguments.has("group")) {
                    json.with("committed", consumer.fetchConsumeOffset(queue, true));
                }
                if (arguments.has("at")) {
                    json.with("at", consumer.searchOffset(queue, Long.parseLong(arguments.text("at", ""))));
                }
                json.print();
            }
            return true;
        } catch (Exception error) {
            Client.printError(0, error);
            return false;
        } finally {
            consumer.shutdown();
        }
    }
}
