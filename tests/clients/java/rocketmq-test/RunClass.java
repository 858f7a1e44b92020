import org.junit.runner.Description;
import org.junit.runner.JUnitCore;
import org.junit.runner.Result;
import org.junit.runner.notification.Failure;
import org.junit.runner.notification.RunListener;

/**
 * Runs one class of JUnit tests: a line for each test as it begins and for each failure, and at last
 * {@code RESULT run failed skipped}, where skipped tests are those that are ignored or whose assumption does not hold.
 */
public final class RunClass {
    private static int skipped = 0;

    public static void main(String[] arguments) throws Exception {
        JUnitCore core = new JUnitCore();
        core.addListener(new RunListener() {
            @Override
            public void testStarted(Description test) {
                System.out.println("BEGIN " + test.getMethodName());
            }

            @Override
            public void testFailure(Failure failure) {
                System.out.println("FAILED " + failure.getDescription().getMethodName() + ": " + failure.getTrimmedTrace());
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
        Result result = core.run(Class.forName(arguments[0]));
        System.out.println("RESULT " + result.getRunCount() + " " + result.getFailureCount() + " " + skipped);
        // Clients leave threads behind.
        Runtime.getRuntime().halt(result.wasSuccessful() ? 0 : 1);
    }
}
