import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.apache.rocketmq.tools.command.MQAdminStartup;

/** Runs mqadmin commands in one JVM: each line of the input is one, its arguments separated by tabs. */
public class MqAdmin {
    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        System.setOut(out);
        System.setErr(out);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.println("\u0001" + line);
            MQAdminStartup.main0(line.split("\t"), null);
            out.println("\u0002");
        }
        // Threads of admin clients that did not start would keep the JVM alive.
        System.exit(0);
    }
}
