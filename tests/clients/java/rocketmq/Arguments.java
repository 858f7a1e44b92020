import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** A command line: positional arguments, then options {@code --name value} and flags {@code --name}. */
final class Arguments {
    private static final Set<String> FLAGS = Set.of("oneway", "batch", "broadcast", "orderly", "recall", "pop", "hang");

    private final List<String> positional = new ArrayList<>();
    private final Map<String, List<String>> options = new HashMap<>();

    Arguments(String[] arguments) {
        for (int at = 0; at < arguments.length; at++) {
            if (!arguments[at].startsWith("--")) {
                positional.add(arguments[at]);
                continue;
            }
            String name = arguments[at].substring(2);
            List<String> values = options.computeIfAbsent(name, ignored -> new ArrayList<>());
            if (FLAGS.contains(name)) {
                values.add("true");
            } else if (at + 1 < arguments.length) {
                values.add(arguments[++at]);
            } else {
                throw new IllegalArgumentException("--" + name + " needs a value");
            }
        }
    }

    String at(int index, String meaning) {
        if (index >= positional.size()) {
            throw new IllegalArgumentException("missing argument: " + meaning);
        }
        return positional.get(index);
    }

    boolean has(String name) {
        return options.containsKey(name);
    }

    String text(String name, String otherwise) {
        return has(name) ? options.get(name).get(0) : otherwise;
    }

    int number(String name, int otherwise) {
        return has(name) ? Integer.parseInt(text(name, "")) : otherwise;
    }

    List<String> all(String name) {
        return options.getOrDefault(name, List.of());
    }
}
