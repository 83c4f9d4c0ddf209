// The work of a typical server on Java. Prints one line a job; the argument is the URL to fetch.
import java.net.InetAddress;
import java.net.StandardProtocolFamily;
import java.net.URI;
import java.net.UnixDomainSocketAddress;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;

class Work {
    public static void main(String[] arguments) throws Exception {
        Path dir = Files.createTempDirectory("work-");
        files(dir);
        threads();
        children();
        sockets(dir);
        network(URI.create(arguments[0]));
    }

    static void files(Path dir) throws Exception {
        Files.writeString(dir.resolve("a"), "x".repeat(100_000));
        Files.copy(dir.resolve("a"), dir.resolve("b"), StandardCopyOption.COPY_ATTRIBUTES);
        Files.move(dir.resolve("b"), dir.resolve("c"));
        try (var channel = FileChannel.open(dir.resolve("c"), StandardOpenOption.READ, StandardOpenOption.WRITE);
                var lock = channel.lock()) {
            var mapped = channel.map(FileChannel.MapMode.READ_WRITE, 0, 10);
            mapped.put((byte) 'y');
            mapped.force();
            try (var copy = FileChannel.open(dir.resolve("d"), StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
                System.out.println("transfer " + channel.transferTo(0, 100_000, copy));
            }
            Files.delete(dir.resolve("d"));
        }
        try (var names = Files.list(dir)) {
            var sorted = names.map(path -> path.getFileName().toString()).sorted().toList();
            System.out.println("files " + String.join(",", sorted) + " " + Files.size(dir.resolve("c")));
        }
    }

    static void threads() throws Exception {
        var pool = Executors.newFixedThreadPool(3);
        int total = 0;
        for (var future : pool.invokeAll(IntStream.of(1, 2, 3).mapToObj(n -> (java.util.concurrent.Callable<Integer>) () -> n * n).toList())) {
            total += future.get();
        }
        pool.shutdown();
        System.gc();
        System.out.println("threads " + total + " " + pool.awaitTermination(10, TimeUnit.SECONDS));
    }

    static void children() throws Exception {
        var cat = new ProcessBuilder("cat").start();
        try (var to = cat.getOutputStream()) {
            to.write("through a child".getBytes());
        }
        var said = new String(cat.getInputStream().readAllBytes());
        var stopped = new ProcessBuilder("sleep", "60").start();
        stopped.destroy();
        System.out.println("children " + said + " " + stopped.waitFor());
    }

    static void sockets(Path dir) throws Exception {
        var address = UnixDomainSocketAddress.of(dir.resolve("s"));
        try (var server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(address);
            try (var client = SocketChannel.open(address); var accepted = server.accept()) {
                Files.writeString(dir.resolve("e"), "over a socket");
                try (var file = FileChannel.open(dir.resolve("e"))) {
                    file.transferTo(0, file.size(), client);
                }
                client.shutdownOutput();
                var buffer = ByteBuffer.allocate(100);
                while (accepted.read(buffer) >= 0) {}
                System.out.println("unix " + new String(buffer.array(), 0, buffer.position()));
            }
        }
    }

    static void network(URI url) throws Exception {
        var random = new byte[1000];
        new SecureRandom().nextBytes(random);
        System.out.println("hash " + MessageDigest.getInstance("SHA-256").digest(random).length);
        System.out.println("lookup " + InetAddress.getByName(url.getHost()).getHostAddress());
        var response = HttpClient.newHttpClient().send(HttpRequest.newBuilder(url).build(), BodyHandlers.ofString());
        System.out.println("fetch " + response.body().strip());
    }
}
