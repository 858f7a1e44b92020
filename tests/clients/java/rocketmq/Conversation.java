import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * {@code request NAMESRV TOPIC COUNT [--timeout-ms N]}: sends requests, prints each reply.
 * {@code respond NAMESRV TOPIC GROUP --expect N}: replies to each request with its body and an exclamation mark.
 * {@code trace NAMESRV TOPIC GROUP}: sends a message and consumes it, both with message traces on; prints its id.
 */
final class Conversation {
    private Conversation() {}

    static boolean request(Arguments arguments) throws Exception {
        DefaultMQProducer producer = producer(arguments, "test_request", false);
        try {
            for (int index = 0; index < Integer.parseInt(arguments.at(3, "COUNT")); index++) {
                Message request = new Message(arguments.at(2, "TOPIC"), ("question-" + index).getBytes(StandardCharsets.UTF_8));
                Message reply = producer.request(request, arguments.number("timeout-ms", 20000));
                new Json().with("index", index).with("reply", new String(reply.getBody(), StandardCharsets.UTF_8)).print();
            }
            // The broker still waits to hear that the last reply came.
            Thread.sleep(1000);
            return true;
        } catch (Exception error) {
            Client.printError(0, error);
            return false;
        } finally {
            producer.shutdown();
        }
    }

    static boolean respond(Arguments arguments) throws Exception {
        DefaultMQProducer producer = producer(arguments, "test_respond", false);
        CountDownLatch missing = new CountDownLatch(arguments.number("expect", 1));
        DefaultMQPushConsumer consumer = consumer(arguments, false, message -> {
            byte[] body = (new String(message.getBody(), StandardCharsets.UTF_8) + "!").getBytes(StandardCharsets.UTF_8);
            new Json()
                .with("status", producer.send(MessageUtil.createReplyMessage(message, body), 20000).getSendStatus())
                .print();
            missing.countDown();
        });
        boolean good = missing.await(120, TimeUnit.SECONDS);
        consumer.shutdown();
        producer.shutdown();
        return good;
    }

    static boolean trace(Arguments arguments) throws Exception {
        DefaultMQProducer producer = producer(arguments, "test_trace", true);
        CountDownLatch missing = new CountDownLatch(1);
        Message message = new Message(arguments.at(2, "TOPIC"), "traced".getBytes(StandardCharsets.UTF_8));
        String id = producer.send(message).getMsgId();
        DefaultMQPushConsumer consumer = consumer(arguments, true, received -> missing.countDown());
        boolean good = missing.await(120, TimeUnit.SECONDS);
        // Shutting down does not wait for traces, which are sent in the background.
        Thread.sleep(3000);
        consumer.shutdown();
        producer.shutdown();
        new Json().with("msgId", id).print();
        return good;
    }

    private static DefaultMQProducer producer(Arguments arguments, String group, boolean traced) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(group, traced, null);
        Client.reach(producer, arguments);
        producer.start();
        return producer;
    }

    private interface Work {
        void with(MessageExt message) throws Exception;
    }

    private static DefaultMQPushConsumer consumer(Arguments arguments, boolean traced, Work work) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(arguments.at(3, "GROUP"), traced, null);
        Client.reach(consumer, arguments);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(arguments.at(2, "TOPIC"), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                try {
                    work.with(message);
                } catch (Exception error) {
                    Client.printError(0, error);
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return consumer;
    }
}
