import java.util.Base64;
import java.util.List;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * {@code query NAMESRV TOPIC [--key K]... [--id ID]... [--max N] [--begin MS] [--end MS]}: prints messages as a producer finds them, for each
 * key and then for each message id, which may be the broker's own or the client's.
 */
final class Query {
    private final Arguments arguments;
    private final DefaultMQProducer producer;
    private final String topic;

    private Query(Arguments arguments) {
        this.arguments = arguments;
        this.topic = arguments.at(2, "TOPIC");
        producer = new DefaultMQProducer(arguments.text("group", "test_query"));
        Client.reach(producer, arguments);
    }

    static boolean run(Arguments arguments) throws Exception {
        Query query = new Query(arguments);
        query.producer.start();
        try {
            // What follows does not wait for a slow name server, this does.
            query.producer.fetchPublishMessageQueues(query.topic);
            for (String key : arguments.all("key")) {
                query.ask(key, query::byKey);
            }
            for (String id : arguments.all("id")) {
                query.ask(id, asked -> List.of(query.producer.viewMessage(query.topic, asked)));
            }
            return true;
        } finally {
            query.producer.shutdown();
        }
    }

    private interface Search {
        List<MessageExt> messages(String asked) throws Exception;
    }

    private void ask(String asked, Search search) throws Exception {
        try {
            for (MessageExt message : search.messages(asked)) {
                new Json()
                    .with("asked", asked)
                    .with("msgId", message.getMsgId())
                    .with("queueId", message.getQueueId())
                    .with("queueOffset", message.getQueueOffset())
                    .with("storeTimestamp", message.getStoreTimestamp())
                    .with("body", Base64.getEncoder().encodeToString(message.getBody()))
                    .print();
            }
        } catch (MQClientException error) {
            new Json().with("asked", asked).with("code", error.getResponseCode()).print();
        }
    }

    @SuppressWarnings("deprecation")
    private List<MessageExt> byKey(String key) throws Exception {
        long begin = Long.parseLong(arguments.text("begin", "0"));
        long end = Long.parseLong(arguments.text("end", Long.toString(Long.MAX_VALUE)));
        return producer.queryMessage(topic, key, arguments.number("max", 64), begin, end).getMessageList();
    }
}
