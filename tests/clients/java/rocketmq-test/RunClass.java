import java.io.FilterOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.util.Set;
import org.apache.rocketmq.test.base.BaseConf;
import org.junit.runner.Description;
import org.junit.runner.JUnitCore;
import org.junit.runner.Request;
import org.junit.runner.Result;
import org.junit.runner.manipulation.Filter;
import org.junit.runner.notification.Failure;
import org.junit.runner.notification.RunListener;

/**
 * Runs one class of JUnit tests, but for those of its tests that are named after it, or their parameters as {@code [0]}: a line
 * for each test as it begins and for each failure, and at last {@code RESULT run failed skipped}, where skipped tests are those
 * that are ignored or whose assumption does not hold.
 */
public final class RunClass {
    private static int skipped = 0;

    public static void main(String[] arguments) {
        int status = 1;
        try {
            status = run(arguments);
        } catch (Throwable error) {
            error.printStackTrace();
        }
        // Clients leave threads behind.
        Runtime.getRuntime().halt(status);
    }

    private static int run(String[] arguments) throws Exception {
        PrintStream out = System.out;
        System.setErr(new PrintStream(new Throttled(System.err), true));
        JUnitCore core = new JUnitCore();
        core.addListener(new RunListener() {
            @Override
            public void testStarted(Description test) {
                out.println("BEGIN " + test.getMethodName());
            }

            @Override
            public void testFailure(Failure failure) {
                out.println("FAILED " + failure.getDescription().getMethodName() + ": " + failure.getTrimmedTrace());
            }

            @Override
            public void testIgnored(Description test) {
                skipped++;
            }

            @Override
            public void testAssumptionFailure(Failure failure) {
                skipped++;
            }
        });
        Set<String> leftOut = arguments.length > 1 ? Set.of(arguments[1].split(",")) : Set.of();
        Result result = core.run(Request.aClass(Class.forName(arguments[0])).filterWith(allBut(leftOut)));
        out.println("RESULT " + result.getRunCount() + " " + result.getFailureCount() + " " + skipped);
        BaseConf.restore();
        return result.wasSuccessful() ? 0 : 1;
    }

    private static Filter allBut(Set<String> leftOut) {
        return new Filter() {
            @Override
            public boolean shouldRun(Description description) {
                if (description.isSuite()) {
                    return true;
                }
                // A test with parameters is called name[parameters].
                String name = description.getMethodName();
                int parameters = name.indexOf('[');
                return parameters < 0 ? !leftOut.contains(name)
                    : !leftOut.contains(name.substring(0, parameters)) && !leftOut.contains(name.substring(parameters));
            }

            @Override
            public String describe() {
                return "all but " + leftOut;
            }
        };
    }

    /** What is written after the first bytes is dropped, slowly: SqlFilterIT prints stack traces in a loop without a pause. */
    private static final class Throttled extends FilterOutputStream {
        private static final int BYTES_MAX = 1 << 20;

        private int written = 0;

        Throttled(OutputStream to) {
            super(to);
        }

        @Override
        public void write(int one) throws IOException {
            write(new byte[] {(byte) one}, 0, 1);
        }

        @Override
        public synchronized void write(byte[] bytes, int from, int length) throws IOException {
            if (written <= BYTES_MAX) {
                written += length;
                out.write(bytes, from, length);
                return;
            }
            try {
                Thread.sleep(1);
            } catch (InterruptedException stop) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
