import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

/**
 * An ordinary RocketMQ application as a command line program, for tests against real servers.
 * The same source is compiled against several versions of rocketmq-client.
 *
 * <pre>
 * produce NAMESRV TOPIC COUNT    send messages; one JSON line per result
 * consume NAMESRV TOPIC GROUP    push consumer; prints READY, then one JSON line per message
 * lite NAMESRV TOPIC GROUP       lite pull consumer; one JSON line per message
 * lite-topics NAMESRV PARENT GROUP   pop from lite topics (5.5 only); one JSON line per message
 * transact NAMESRV TOPIC COUNT   send half messages; one JSON line per result and per question of the broker
 * query NAMESRV TOPIC            find messages by key or id; one JSON line per message
 * request NAMESRV TOPIC COUNT    send requests; one JSON line per reply
 * respond NAMESRV TOPIC GROUP    reply to requests
 * trace NAMESRV TOPIC GROUP      send and consume one message with traces on
 * create-topic NAMESRV TOPIC     --queues N
 * offsets NAMESRV TOPIC          one JSON line per queue: min and max, with --group its committed offset, with --at that of a time
 * </pre>
 * In the values of --body, --tag, --key and --prop, {i} stands for the message's number from 0.
 * --serialize json|rocketmq selects the encoding of request headers, --compress zlib|lz4|zstd that of bodies of 4 KiB or more
 * (5.x only).
 */
public final class Client {
    static final int PATIENCE_MS = 30000;

    private Client() {}

    public static void main(String[] command) throws Exception {
        System.setOut(new PrintStream(System.out, false, StandardCharsets.UTF_8));
        Arguments arguments = new Arguments(command);
        // The client reads this once, when its remoting classes are loaded.
        System.setProperty("rocketmq.serialize.type", arguments.text("serialize", "json").toUpperCase());
        System.setProperty("rocketmq.message.compressType", arguments.text("compress", "zlib").toUpperCase());
        boolean good = switch (arguments.at(0, "a command")) {
            case "produce" -> Produce.run(arguments);
            case "consume" -> Consume.run(arguments);
            case "lite" -> LitePull.run(arguments);
            case "lite-topics" -> liteTopics(arguments);
            case "transact" -> Transact.run(arguments);
            case "query" -> Query.run(arguments);
            case "request" -> Conversation.request(arguments);
            case "respond" -> Conversation.respond(arguments);
            case "trace" -> Conversation.trace(arguments);
            case "create-topic" -> Topics.create(arguments);
            case "offsets" -> Topics.offsets(arguments);
            default -> throw new IllegalArgumentException("unknown command " + arguments.at(0, ""));
        };
        // Not every thread of the client is a daemon.
        System.exit(good ? 0 : 1);
    }

    /** Tells a client where the name server is, and to be patient: by default it gives up after 3 s, which a busy machine may take. */
    static void reach(ClientConfig client, Arguments arguments) {
        client.setNamesrvAddr(arguments.at(1, "NAMESRV"));
        client.setMqClientApiTimeout(PATIENCE_MS);
        if (client instanceof DefaultMQProducer producer) {
            producer.setSendMsgTimeout(PATIENCE_MS);
        }
    }

    /** What a producer sends first does not wait for a slow name server, this does. */
    static void awaitNameServer(DefaultMQProducer producer, String topic) {
        try {
            producer.fetchPublishMessageQueues(topic);
        } catch (MQClientException notThereYet) {
            // Whatever is wrong is told again.
        }
    }

    /** Compiled against 5.5 only. */
    private static boolean liteTopics(Arguments arguments) throws Exception {
        java.lang.reflect.Method run = Class.forName("LiteTopics").getDeclaredMethod("run", Arguments.class);
        run.setAccessible(true);
        return (boolean) run.invoke(null, arguments);
    }

    /** Prints what failed, with the broker's response code where there is one. */
    static void printError(int index, Throwable error) {
        Json json = new Json().with("index", index).with("error", error.getClass().getSimpleName());
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            if (cause instanceof org.apache.rocketmq.client.exception.MQBrokerException broker) {
                json.with("code", broker.getResponseCode());
                break;
            }
            if (cause instanceof MQClientException client) {
                json.with("code", client.getResponseCode());
                break;
            }
        }
        json.with("message", String.valueOf(error.getMessage())).print();
    }
}
