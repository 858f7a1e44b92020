import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.*;

public class OrdersConsumer {
    public static void main(String[] args) throws Exception {
        var consumer = new DefaultMQPushConsumer("java-example");
        consumer.setNamesrvAddr(args.length > 0 ? args[0] : "127.0.0.1:9876");
        consumer.subscribe("BUS_orders", "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (var m : messages) System.out.println(m.getProperty("ce_type") + " " + new String(m.getBody()));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
    }
}
