import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.ProxySelector;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** Has the conversation of the tests with one of the two clients of Java's standard library. */
class Conversation {
    interface Library {
        String get(String url) throws IOException, InterruptedException;
    }

    static final String AUTHORIZATION = "Bearer " + System.getenv("API_KEY");
    static final HttpClient CLIENT = HttpClient.newBuilder().proxy(ProxySelector.getDefault()).build();

    public static void main(String[] arguments) throws Exception {
        Library library = arguments[0].equals("new") ? Conversation::modern : Conversation::old;
        String first = library.get("https://api.example.com/echo");
        try {
            System.out.println("answered " + library.get("https://evil.test/"));
        } catch (IOException error) {
            System.out.println("refused " + error);
        }
        System.out.println(first);
        System.out.println(library.get("https://api.example.com/hold"));
    }

    static String modern(String url) throws IOException, InterruptedException {
        var request = HttpRequest.newBuilder(URI.create(url)).header("Authorization", AUTHORIZATION).build();
        var answer = CLIENT.send(request, BodyHandlers.ofString());
        return "spoken " + answer.version() + " " + answer.headers().map() + answer.body();
    }

    static String old(String url) throws IOException {
        var connection = (HttpURLConnection) new URL(url).openConnection();
        connection.setRequestProperty("Authorization", AUTHORIZATION);
        try (var body = connection.getInputStream()) {
            String status = connection.getHeaderField(0);
            return "spoken " + status + connection.getHeaderFields() + new String(body.readAllBytes());
        }
    }
}
