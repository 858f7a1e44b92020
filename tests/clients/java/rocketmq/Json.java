import java.util.Map;

/** Prints one JSON object per line; nothing else goes to standard output but a few bare words. */
final class Json {
    private final StringBuilder text = new StringBuilder("{");

    Json with(String name, Object value) {
        if (text.length() > 1) {
            text.append(',');
        }
        quote(name);
        text.append(':');
        if (value == null || value instanceof Number || value instanceof Boolean) {
            text.append(value);
        } else if (value instanceof Map<?, ?> map) {
            Json inner = new Json();
            map.forEach((key, entry) -> inner.with(String.valueOf(key), entry));
            text.append(inner);
        } else {
            quote(value.toString());
        }
        return this;
    }

    void print() {
        line(toString());
    }

    /** Whole lines only: listeners print from many threads. */
    static synchronized void line(String line) {
        System.out.println(line);
        System.out.flush();
    }

    @Override
    public String toString() {
        return text + "}";
    }

    private void quote(String value) {
        text.append('"');
        for (int at = 0; at < value.length(); at++) {
            char c = value.charAt(at);
            if (c == '"' || c == '\\') {
                text.append('\\').append(c);
            } else if (c < ' ') {
                text.append(String.format("\\u%04x", (int) c));
            } else {
                text.append(c);
            }
        }
        text.append('"');
    }
}
