// The client of the Java platform, java.net.http.WebSocket.

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class JavaClient {
    static final String PAYLOAD = "ping!";
    static final byte[] NOISE = noise();

    /** Puts messages together and queues them, pongs and the end of the connection. */
    static class Listener implements WebSocket.Listener {
        record End(int code, String reason) {}
        record Pong(String payload) {}

        final BlockingQueue<Object> events = new LinkedBlockingQueue<>();
        private final StringBuilder text = new StringBuilder();
        private final ByteArrayOutputStream binary = new ByteArrayOutputStream();

        @Override public CompletionStage<?> onText(WebSocket socket, CharSequence data, boolean last) {
            text.append(data);
            if (last) {
                events.add(text.toString());
                text.setLength(0);
            }
            socket.request(1);
            return null;
        }

        @Override public CompletionStage<?> onBinary(WebSocket socket, ByteBuffer data, boolean last) {
            byte[] bytes = new byte[data.remaining()];
            data.get(bytes);
            binary.writeBytes(bytes);
            if (last) {
                events.add(binary.toByteArray());
                binary.reset();
            }
            socket.request(1);
            return null;
        }

        @Override public CompletionStage<?> onPong(WebSocket socket, ByteBuffer data) {
            events.add(new Pong(StandardCharsets.UTF_8.decode(data).toString()));
            socket.request(1);
            return null;
        }

        @Override public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
            events.add(new End(code, reason));
            return null;
        }

        @Override public void onError(WebSocket socket, Throwable error) {
            events.add(error);
        }

        Object next() throws Exception {
            Object event = events.poll(15, TimeUnit.SECONDS);
            if (event == null) throw new Exception("nothing came");
            if (event instanceof Throwable) throw new Exception((Throwable) event);
            return event;
        }
    }

    static Map<String, String> talk(Map<String, String> task) throws Exception {
        HttpClient.Builder http = HttpClient.newBuilder();
        if (task.get("url").startsWith("wss:")) http.sslContext(trusting(task.get("ca")));
        WebSocket.Builder builder = http.build().newWebSocketBuilder();
        if (!task.get("origin").isEmpty()) builder.header("Origin", task.get("origin"));
        String[] offer = task.get("subprotocols").isEmpty() ? new String[0] : task.get("subprotocols").split(",");
        if (offer.length > 0) builder.subprotocols(offer[0], Arrays.copyOfRange(offer, 1, offer.length));
        Listener listener = new Listener();
        WebSocket socket = builder.buildAsync(URI.create(task.get("url")), listener).get();
        Map<String, String> answer = new HashMap<>();
        answer.put("subprotocol", socket.getSubprotocol());
        switch (task.get("action")) {
            case "echo":
                for (String message : task.get("messages").split(" ")) echo(task, socket, listener, message);
                break;
            case "ping":
                socket.sendPing(ByteBuffer.wrap(PAYLOAD.getBytes(StandardCharsets.UTF_8))).get();
                if (!listener.next().equals(new Listener.Pong(PAYLOAD))) throw new Exception("another pong");
                break;
            case "closed":
                socket.sendText("close", true).get();
                break;
            case "close":
                socket.sendClose(Integer.parseInt(task.get("code")), task.get("reason")).get();
                break;
        }
        if (task.get("action").equals("echo") || task.get("action").equals("ping")) socket.sendClose(1000, "").get();
        Listener.End end = (Listener.End) listener.next();
        answer.put("code", String.valueOf(end.code()));
        answer.put("reason", end.reason());
        return answer;
    }

    static void echo(Map<String, String> task, WebSocket socket, Listener listener, String message) throws Exception {
        String[] words = message.split(":");
        int size = Integer.parseInt(words[1]);
        boolean parts = !task.get("fragments").isEmpty();
        boolean same;
        if (words[0].equals("text")) {
            String data = text(size);
            int[] cuts = cuts(data.length(), parts);
            for (int i = 1; i < cuts.length; i++)
                socket.sendText(data.substring(cuts[i - 1], cuts[i]), i == cuts.length - 1).get();
            same = data.equals(listener.next());
        } else {
            byte[] data = binary(size);
            int[] cuts = cuts(data.length, parts);
            for (int i = 1; i < cuts.length; i++)
                socket.sendBinary(ByteBuffer.wrap(data, cuts[i - 1], cuts[i] - cuts[i - 1]), i == cuts.length - 1).get();
            same = listener.next() instanceof byte[] bytes && Arrays.equals(data, bytes);
        }
        if (!same) throw new Exception("the echo of " + message + " differs");
    }

    static int[] cuts(int length, boolean parts) {
        return parts ? new int[] {0, length / 3, 2 * (length / 3), length} : new int[] {0, length};
    }

    // What is sent, as in `harness.py`.

    static byte[] noise() {
        byte[] found = new byte[65521];
        long x = 1;
        for (int i = 0; i < found.length; i++) {
            x = (x * 75 + 74) % 65537;
            found[i] = (byte) (x & 15);
        }
        return found;
    }

    static byte[] binary(int size) {
        byte[] data = new byte[size];
        for (int at = 0; at < size; at += NOISE.length)
            System.arraycopy(NOISE, 0, data, at, Math.min(NOISE.length, size - at));
        return data;
    }

    static String text(int size) {
        StringBuilder data = new StringBuilder();
        for (int i = 0; i < size / 10; i++)
            data.append(Integer.toHexString(NOISE[i % NOISE.length])).append("é→🎭");
        return data.append("x".repeat(size % 10)).toString();
    }

    static SSLContext trusting(String file) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream in = new FileInputStream(file)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context;
    }

    // Tasks and answers are objects of texts only, so two expressions read and write their JSON.

    static Map<String, String> read(String line) {
        Map<String, String> found = new HashMap<>();
        Matcher matcher = Pattern.compile("\"(\\w+)\": \"([^\"]*)\"").matcher(line);
        while (matcher.find()) found.put(matcher.group(1), matcher.group(2));
        return found;
    }

    static String write(Map<String, String> answer) {
        StringBuilder json = new StringBuilder("{");
        answer.forEach((key, value) -> json.append(json.length() > 1 ? ", " : "").append('"').append(key)
            .append("\": \"").append(value.replaceAll("[\"\\\\\\p{Cntrl}]", " ")).append('"'));
        return json.append("}").toString();
    }

    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        out.println(write(Map.of("version", System.getProperty("java.version"))));
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            Map<String, String> answer;
            try {
                answer = talk(read(line));
            } catch (Exception error) {
                answer = Map.of("error", String.valueOf(error));
            }
            out.println(write(answer));
        }
        System.exit(0);
    }
}
