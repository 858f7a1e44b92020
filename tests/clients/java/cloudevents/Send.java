import io.cloudevents.CloudEvent;
import io.cloudevents.core.builder.CloudEventBuilder;
import io.cloudevents.http.HttpMessageFactory;
import java.io.ByteArrayOutputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** Posts events with the official CloudEvents SDK for Java: {@code Send URL binary|structured}. */
public final class Send {
    private Send() {}

    public static void main(String[] arguments) throws Exception {
        String mode = arguments[1];
        List<CloudEvent> events = List.of(
            event(mode, 0).withData("application/json", "{\"message\":\"grüße\",\"n\":1}".getBytes(StandardCharsets.UTF_8)).build(),
            event(mode, 1).withSubject("a b").withExtension("myext", "x").withData("text/plain", "plain text".getBytes()).build(),
            event(mode, 2).withData("application/octet-stream", new byte[] {0, 1, (byte) 255}).build(),
            event(mode, 3).build());
        for (CloudEvent event : events) {
            int status = post(arguments[0], mode, event);
            System.out.println(status);
            if (status != 202) {
                System.exit(1);
            }
        }
    }

    private static CloudEventBuilder event(String mode, int number) {
        return CloudEventBuilder.v1().withId("java-" + mode + "-" + number).withSource(URI.create("/java")).withType("com.example.java");
    }

    private static int post(String url, String mode, CloudEvent event) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
        connection.setRequestMethod("POST");
        connection.setDoOutput(true);
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        var writer = HttpMessageFactory.createWriter(connection::setRequestProperty, bytes -> {
            if (bytes != null) {
                body.writeBytes(bytes);
            }
        });
        if (mode.equals("binary")) {
            writer.writeBinary(event);
        } else {
            writer.writeStructured(event, "application/cloudevents+json");
        }
        try (OutputStream out = connection.getOutputStream()) {
            body.writeTo(out);
        }
        return connection.getResponseCode();
    }
}
