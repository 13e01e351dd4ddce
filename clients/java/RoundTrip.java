import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

/** Apache Kafka's own Java client: every codec, idempotent, keys, headers, nulls, large records, groups, seeks. */
public class RoundTrip {
    static final int RECORDS = 10_000;

    public static void main(String[] args) throws Exception {
        String broker = args[0];
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = "java-" + codec;
            administer(broker, topic);
            produce(broker, topic, codec);
            consume(broker, topic, "group-" + topic);
            seekByTime(broker, topic);
            System.out.println("| kafka-clients 4.4.0 | " + codec + " | " + RECORDS + " | same content; idempotent; group; seek by time |");
        }
        assignors(broker, "java-none");
    }

    static Map<String, Object> config(String broker) {
        return new HashMap<>(Map.of("bootstrap.servers", broker));
    }

    static void administer(String broker, String topic) throws Exception {
        try (Admin admin = Admin.create(config(broker))) {
            admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1))).all().get();
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all().get();
            int partitions = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
            check(partitions == 4, "four partitions after growing, found " + partitions);
        }
    }

    static byte[] key(int n) {
        return n % 10 == 0 ? null : ("key-" + n % 100).getBytes();
    }

    static byte[] value(int n) {
        if (n % 50 == 1) {
            return null;
        }
        byte[] value = new byte[n == 7 ? 900_000 : n % 300];
        Arrays.fill(value, (byte) n);
        return value;
    }

    static void produce(String broker, String topic, String codec) throws Exception {
        Map<String, Object> config = config(broker);
        config.putAll(Map.of("compression.type", codec, "enable.idempotence", true, "acks", "all", "linger.ms", 5));
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<java.util.concurrent.Future<RecordMetadata>> sent = new ArrayList<>();
            for (int n = 0; n < RECORDS; n++) {
                var headers = List.<org.apache.kafka.common.header.Header>of(new RecordHeader("n", Integer.toString(n).getBytes()));
                sent.add(producer.send(new ProducerRecord<>(topic, n % 4, key(n), value(n), headers)));
            }
            for (var future : sent) {
                future.get();
            }
        }
    }

    static Map<String, Object> group(String broker, String group) {
        Map<String, Object> config = config(broker);
        config.putAll(Map.of("group.id", group, "auto.offset.reset", "earliest", "enable.auto.commit", false));
        return config;
    }

    static void consume(String broker, String topic, String group) {
        int[] next = {0, 1, 2, 3};
        int count = 0;
        try (var consumer = new KafkaConsumer<>(group(broker, group), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(topic));
            long end = System.currentTimeMillis() + 60_000;
            while (count < RECORDS && System.currentTimeMillis() < end) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    int n = next[record.partition()];
                    next[record.partition()] += 4;
                    check(new String(record.headers().lastHeader("n").value()).equals("" + n), "order in partition");
                    check(Arrays.equals(record.key(), key(n)), "key " + n);
                    check(Arrays.equals(record.value(), value(n)), "value " + n);
                    count++;
                }
                consumer.commitSync();
            }
        }
        check(count == RECORDS, "all records, found " + count);
        try (var consumer = new KafkaConsumer<>(group(broker, group), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            Set<TopicPartition> all = new HashSet<>();
            for (int p = 0; p < 4; p++) {
                all.add(new TopicPartition(topic, p));
            }
            long committed = consumer.committed(all).values().stream().mapToLong(OffsetAndMetadata::offset).sum();
            check(committed == RECORDS, "committed offsets, found " + committed);
        }
    }

    static void seekByTime(String broker, String topic) {
        try (var consumer = new KafkaConsumer<>(config(broker), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            TopicPartition partition = new TopicPartition(topic, 1);
            consumer.assign(List.of(partition));
            consumer.seek(partition, 100);
            ConsumerRecord<byte[], byte[]> wanted = null;
            while (wanted == null) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    wanted = wanted == null ? record : wanted;
                }
            }
            check(wanted.offset() == 100, "seek to an offset");
            long found = consumer.offsetsForTimes(Map.of(partition, wanted.timestamp())).get(partition).offset();
            check(found <= 100, "the offset of a timestamp, found " + found);
            check(consumer.endOffsets(List.of(partition)).get(partition) == RECORDS / 4, "end offset");
        }
    }

    /** Two members share a topic under every assignor of this client; then one leaves and the other has all. */
    static void assignors(String broker, String topic) {
        for (String assignor : List.of("RangeAssignor", "RoundRobinAssignor", "StickyAssignor", "CooperativeStickyAssignor")) {
            Map<String, Object> config = group(broker, "assign-" + assignor);
            config.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor);
            var first = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
            var second = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
            first.subscribe(List.of(topic));
            second.subscribe(List.of(topic));
            until(() -> {
                first.poll(Duration.ofMillis(50));
                second.poll(Duration.ofMillis(50));
                return first.assignment().size() == 2 && second.assignment().size() == 2;
            }, assignor + " shares four partitions");
            first.close();
            until(() -> {
                second.poll(Duration.ofMillis(50));
                return second.assignment().size() == 4;
            }, assignor + " takes over");
            second.close();
            System.out.println("| kafka-clients 4.4.0 | " + assignor + " | – | shared, taken over |");
        }
    }

    static void until(java.util.function.BooleanSupplier done, String what) {
        long end = System.currentTimeMillis() + 60_000;
        while (!done.getAsBoolean()) {
            check(System.currentTimeMillis() < end, what);
        }
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError("not so: " + what);
        }
    }
}
