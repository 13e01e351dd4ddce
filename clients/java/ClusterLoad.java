import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Apache Kafka's own producer, with its defaults, that writes numbered lines to every partition of a topic, whatever
 * happens to the cluster. Arguments and commands are those of clients/python/cluster_load.py.
 */
public class ClusterLoad {
    static int partitions;
    static long[] last, longest, acknowledged;
    static final Set<String> failures = new TreeSet<>();
    static long failed;
    static volatile boolean ending;

    public static void main(String[] args) throws Exception {
        String topic = args[1];
        partitions = Integer.parseInt(args[2]);
        double rate = Double.parseDouble(args[3]);
        last = new long[partitions];
        longest = new long[partitions];
        acknowledged = new long[partitions];
        Arrays.fill(last, System.nanoTime());
        Thread listener = new Thread(ClusterLoad::listen);
        listener.setDaemon(true);
        listener.start();
        Map<String, Object> config = Map.of("bootstrap.servers", args[0]);
        var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
        long sent = 0, start = System.nanoTime();
        while (!ending) {
            long due = (long) ((System.nanoTime() - start) / 1e9 * rate);
            for (; sent < due; sent++) {
                for (int partition = 0; partition < partitions; partition++) {
                    int at = partition;
                    var line = new ProducerRecord<String, String>(topic, partition, null, Long.toString(sent));
                    producer.send(line, (metadata, error) -> note(at, error));
                }
            }
            Thread.sleep(2);
        }
        producer.close();
        synchronized (failures) {
            failures.forEach(failure -> System.err.println("not acknowledged: " + failure));
            System.out.println("done " + join(acknowledged) + " " + sent + " " + failed);
        }
    }

    static void note(int partition, Exception error) {
        long now = System.nanoTime();
        synchronized (failures) {
            if (error != null) {
                failures.add(error.toString());
                failed++;
                return;
            }
            longest[partition] = Math.max(longest[partition], now - last[partition]);
            last[partition] = now;
            acknowledged[partition]++;
        }
    }

    /** The longest gaps since the last mark, one that has not ended yet among them, or how long the present ones are. */
    static String gaps(boolean isMark) {
        long now = System.nanoTime();
        long[] gaps = new long[partitions];
        for (int at = 0; at < partitions; at++) {
            long present = now - last[at];
            gaps[at] = (isMark ? Math.max(longest[at], present) : present) / 1_000_000;
            longest[at] = isMark ? 0 : longest[at];
        }
        return join(gaps);
    }

    static void listen() {
        try (var input = new BufferedReader(new InputStreamReader(System.in))) {
            for (String line = input.readLine(); line != null; line = input.readLine()) {
                if (!line.equals("mark") && !line.equals("look")) {
                    break;
                }
                synchronized (failures) {
                    long sum = Arrays.stream(acknowledged).sum();
                    System.out.println(line + " " + gaps(line.equals("mark")) + " " + sum + " " + failed);
                }
            }
        } catch (java.io.IOException gone) {
            System.err.println("nobody says anything any more: " + gone);
        }
        ending = true;
    }

    static String join(long[] numbers) {
        return String.join(",", Arrays.stream(numbers).mapToObj(Long::toString).toList());
    }
}
