import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.rocketmq.broker.filter.MessageEvaluationContext;
import org.apache.rocketmq.common.filter.ExpressionType;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.filter.FilterFactory;
import org.apache.rocketmq.filter.expression.Expression;

/**
 * {@code Sql92 FILE}: what {@code halley bench filter} measures, with the classes of RocketMQ, whose broker does the same for each
 * message and subscription ({@code ExpressionMessageFilter.isMatchedByCommitLog}, 5.5.0).
 */
final class Sql92 {
    private static final int MESSAGES = 1_000;
    private static final int ROUNDS = 15;
    private static final int TIMES = 1_000;

    public static void main(String[] arguments) throws Exception {
        List<String> properties = new ArrayList<>();
        List<Expression> expressions = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            if (line.isEmpty() || line.startsWith("#")) {
                continue;
            }
            if (line.contains("=") && !line.substring(0, line.indexOf('=')).contains(" ")) {
                properties.add(line.replaceFirst("=", "\u0001") + "\u0002");
            } else {
                expressions.add(FilterFactory.INSTANCE.get(ExpressionType.SQL92).compile(line));
            }
        }
        byte[][] messages = new byte[MESSAGES][];
        for (int number = 0; number < MESSAGES; number++) {
            messages[number] = String.join("", properties).replace("{i}", String.valueOf(number)).getBytes(StandardCharsets.UTF_8);
        }
        double[] rounds = new double[ROUNDS];
        long matched = 0;
        for (int round = 0; round < ROUNDS; round++) {
            long started = cpuNanos();
            matched = 0;
            for (int time = 0; time < TIMES; time++) {
                for (byte[] message : messages) {
                    for (Expression expression : expressions) {
                        Map<String, String> decoded =
                            MessageDecoder.string2messageProperties(new String(message, StandardCharsets.UTF_8));
                        Object result = expression.evaluate(new MessageEvaluationContext(decoded));
                        matched += Boolean.TRUE.equals(result) ? 1 : 0;
                    }
                }
            }
            rounds[round] = (cpuNanos() - started) / ((double) MESSAGES * expressions.size() * TIMES);
        }
        Arrays.sort(rounds);
        System.out.printf(Locale.ROOT, "%d expressions, %.1f %% match: %.1f ns of CPU per message and expression (%.1f in the middle)%n",
            expressions.size(), matched * 100.0 / ((double) MESSAGES * expressions.size() * TIMES), rounds[0], rounds[ROUNDS / 2]);
    }

    private static long cpuNanos() {
        return ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
    }
}
