import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Method;
import java.util.Base64;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.UtilAll;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * {@code consume NAMESRV TOPIC GROUP [--expect N] [--tag "a || b"] [--sql "a > 1"] [--from first|last|MS] [--broadcast] [--orderly]
 * [--fail N] [--retry-level L] [--max-reconsume N] [--pop] [--hang] [--invisible-ms N] [--threads N] [--timeout-s S]
 * [--serialize json|rocketmq]}
 *
 * <p>Ends well after N messages, badly after S seconds without them. Without --expect it runs until standard input is closed.
 * Prints {@code READY} once started and {@code ASSIGNED n} whenever the number of queues it consumes changes. With --fail, the
 * first N deliveries are refused and come back through the retry topic,
 * after the delay of level L if given, at most --max-reconsume times. With --pop, the broker shares out the queues (5.x), which it
 * does by POP where the group is set to it; with --hang, each message is printed and then never finished. --from MS begins with what was
 * stored in the second of that time. With --threads 1 messages are printed as they came. A line {@code subscribe EXPRESSION} on standard input changes the subscription.
 */
final class Consume {
    private final Arguments arguments;
    private final CountDownLatch enough;
    private final AtomicInteger failures;

    private Consume(Arguments arguments) {
        this.arguments = arguments;
        this.enough = new CountDownLatch(arguments.number("expect", Integer.MAX_VALUE));
        this.failures = new AtomicInteger(arguments.number("fail", 0));
    }

    static boolean run(Arguments arguments) throws Exception {
        return new Consume(arguments).run();
    }

    private boolean run() throws Exception {
        String topic = arguments.at(2, "TOPIC");
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(arguments.at(3, "GROUP"));
        Client.reach(consumer, arguments);
        beginFrom(consumer, arguments.text("from", "first"));
        if (arguments.has("max-reconsume")) {
            consumer.setMaxReconsumeTimes(arguments.number("max-reconsume", 0));
        }
        if (arguments.has("threads")) {
            consumer.setConsumeThreadMin(arguments.number("threads", 1));
            consumer.setConsumeThreadMax(arguments.number("threads", 1));
        }
        if (arguments.has("broadcast")) {
            setBroadcasting(consumer);
        }
        if (arguments.has("pop")) {
            letBrokerShareQueues(consumer);
        }
        if (arguments.has("sql")) {
            consumer.subscribe(topic, MessageSelector.bySql(arguments.text("sql", "")));
        } else {
            consumer.subscribe(topic, arguments.text("tag", "*"));
        }
        listen(consumer);
        // Shutting down waits for running listeners, so that what was counted is also committed.
        consumer.setAwaitTerminationMillisWhenShutdown(5000);
        try {
            consumer.start();
        } catch (Exception error) {
            Client.printError(0, error);
            return false;
        }
        Json.line("READY");
        boolean good = awaitEnd(consumer);
        consumer.shutdown();
        return good;
    }

    private static void beginFrom(DefaultMQPushConsumer consumer, String where) {
        switch (where) {
            case "first" -> consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
            case "last" -> consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
            default -> {
                consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_TIMESTAMP);
                consumer.setConsumeTimestamp(UtilAll.timeMillisToHumanString3(Long.parseLong(where)));
            }
        }
    }

    /** The enum MessageModel lies in another package in 4.x than in 5.x. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    private static void setBroadcasting(DefaultMQPushConsumer consumer) throws ReflectiveOperationException {
        for (Method method : DefaultMQPushConsumer.class.getMethods()) {
            if (method.getName().equals("setMessageModel")) {
                method.invoke(consumer, Enum.valueOf((Class<Enum>) method.getParameterTypes()[0], "BROADCASTING"));
            }
        }
    }

    /** Not in 4.x. */
    private void letBrokerShareQueues(DefaultMQPushConsumer consumer) throws ReflectiveOperationException {
        DefaultMQPushConsumer.class.getMethod("setClientRebalance", boolean.class).invoke(consumer, false);
        if (arguments.has("invisible-ms")) {
            DefaultMQPushConsumer.class.getMethod("setPopInvisibleTime", long.class)
                .invoke(consumer, (long) arguments.number("invisible-ms", 0));
        }
    }

    private void listen(DefaultMQPushConsumer consumer) {
        if (arguments.has("orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) ->
                take(messages) ? ConsumeOrderlyStatus.SUCCESS : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT);
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) ->
                concurrently(messages, context));
        }
    }

    private ConsumeConcurrentlyStatus concurrently(List<MessageExt> messages, ConsumeConcurrentlyContext context) {
        if (take(messages)) {
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        }
        context.setDelayLevelWhenNextConsume(arguments.number("retry-level", 0));
        return ConsumeConcurrentlyStatus.RECONSUME_LATER;
    }

    private boolean awaitEnd(DefaultMQPushConsumer consumer) throws Exception {
        boolean openEnded = !arguments.has("expect");
        CountDownLatch inputClosed = new CountDownLatch(1);
        if (openEnded) {
            Thread reader = new Thread(() -> {
                obeyInput(consumer);
                inputClosed.countDown();
            });
            reader.setDaemon(true);
            reader.start();
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(arguments.number("timeout-s", 120));
        int assigned = 0;
        while (!enough.await(20, TimeUnit.MILLISECONDS)) {
            int now = assignedQueues(consumer);
            if (now != assigned) {
                assigned = now;
                Json.line("ASSIGNED " + assigned);
            }
            if (inputClosed.getCount() == 0) {
                return true;
            }
            if (!openEnded && System.nanoTime() > deadline) {
                Json.line("TIMEOUT " + enough.getCount() + " missing");
                return false;
            }
        }
        return true;
    }

    /** Obeys what comes in until its end. */
    private void obeyInput(DefaultMQPushConsumer consumer) {
        new BufferedReader(new InputStreamReader(System.in)).lines().forEach(line -> {
            try {
                consumer.subscribe(arguments.at(2, "TOPIC"), line.substring("subscribe ".length()));
            } catch (MQClientException error) {
                Client.printError(0, error);
            }
        });
    }

    private int assignedQueues(DefaultMQPushConsumer consumer) {
        String topic = arguments.at(2, "TOPIC");
        return (int) consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic))
            .count();
    }

    private boolean take(List<MessageExt> messages) {
        for (MessageExt message : messages) {
            // One message per call (the client's default), so refusing a call refuses one message.
            if (failures.getAndDecrement() > 0) {
                return false;
            }
            print(message);
            if (arguments.has("hang")) {
                hang();
            }
            enough.countDown();
        }
        return true;
    }

    private static void hang() {
        try {
            Thread.sleep(Long.MAX_VALUE);
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }

    static void print(MessageExt message) {
        new Json()
            .with("topic", message.getTopic())
            .with("queueId", message.getQueueId())
            .with("queueOffset", message.getQueueOffset())
            .with("msgId", message.getMsgId())
            .with("tags", message.getTags())
            .with("keys", message.getKeys())
            .with("reconsumeTimes", message.getReconsumeTimes())
            .with("bornTimestamp", message.getBornTimestamp())
            .with("storeTimestamp", message.getStoreTimestamp())
            .with("body", Base64.getEncoder().encodeToString(message.getBody()))
            .with("properties", new TreeMap<>(message.getProperties()))
            .print();
    }
}
