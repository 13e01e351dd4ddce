import java.time.Duration;
import java.util.*;
import java.util.concurrent.Future;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

/**
 * Apache Kafka's own Java client against a broker. Each line "cell FEATURE OUTCOME" fills a cell of the matrix in
 * docs/clients.md; whatever is not as it should be ends the program.
 */
public class RoundTrip {
    static final int RECORDS = 10_000;
    static final int LARGE = 900_000;
    static String broker;

    public static void main(String[] args) throws Exception {
        broker = args[0];
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = "java-" + codec;
            create(topic);
            produce(topic, codec);
            consume(topic, "group-" + topic);
            cell(codec, "10,000");
        }
        cell("keys, nulls, headers, order", "same");
        cell("largest record", "900 KB");
        cell("idempotent producer", "yes");
        cell("groups, commits", "yes");
        seek("java-none");
        cell("seek by offset and time", "yes");
        assignors("java-none");
        cell("assignors", "range, round robin, sticky, cooperative sticky");
        staticMember("java-none");
        cell("static membership", "comes back without a rebalance");
        administer("java-gzip");
        cell("administering", "create, grow, configure, trim, list and delete groups, delete");
    }

    static void cell(String feature, String outcome) {
        System.out.println("cell\t" + feature + "\t" + outcome);
    }

    static Map<String, Object> config(Object... pairs) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", broker));
        for (int at = 0; at < pairs.length; at += 2) {
            config.put((String) pairs[at], pairs[at + 1]);
        }
        return config;
    }

    static KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> config) {
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static Map<String, Object> member(String group, Object... pairs) {
        Map<String, Object> config = config(pairs);
        config.putAll(Map.of("group.id", group, "auto.offset.reset", "earliest", "enable.auto.commit", false));
        return config;
    }

    static void create(String topic) throws Exception {
        try (Admin admin = Admin.create(config())) {
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
        byte[] value = new byte[n == 7 ? LARGE : n % 300];
        Arrays.fill(value, (byte) n);
        return value;
    }

    static void produce(String topic, String codec) throws Exception {
        Map<String, Object> config = config("compression.type", codec, "enable.idempotence", true, "acks", "all", "linger.ms", 5);
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int n = 0; n < RECORDS; n++) {
                var headers = List.<Header>of(new RecordHeader("n", Integer.toString(n).getBytes()));
                sent.add(producer.send(new ProducerRecord<>(topic, n % 4, key(n), value(n), headers)));
            }
            for (var future : sent) {
                future.get();
            }
        }
    }

    static void consume(String topic, String group) {
        int[] next = {0, 1, 2, 3};
        int count = 0;
        try (var consumer = consumer(member(group))) {
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
        try (var consumer = consumer(member(group))) {
            Set<TopicPartition> all = new HashSet<>();
            for (int p = 0; p < 4; p++) {
                all.add(new TopicPartition(topic, p));
            }
            long committed = consumer.committed(all).values().stream().mapToLong(OffsetAndMetadata::offset).sum();
            check(committed == RECORDS, "committed offsets, found " + committed);
        }
    }

    static void seek(String topic) {
        try (var consumer = consumer(config())) {
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
    static void assignors(String topic) {
        for (String assignor : List.of("RangeAssignor", "RoundRobinAssignor", "StickyAssignor", "CooperativeStickyAssignor")) {
            var config = member("assign-" + assignor, "partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor);
            var first = consumer(config);
            var second = consumer(config);
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
        }
    }

    /** A static member goes and comes back within its session: the other member sees no rebalance. */
    static void staticMember(String topic) {
        var first = consumer(member("static", "group.instance.id", "one"));
        var second = consumer(member("static", "group.instance.id", "two"));
        first.subscribe(List.of(topic));
        second.subscribe(List.of(topic));
        until(() -> {
            first.poll(Duration.ofMillis(50));
            second.poll(Duration.ofMillis(50));
            return first.assignment().size() == 2 && second.assignment().size() == 2;
        }, "static members share four partitions");
        Set<TopicPartition> before = first.assignment();
        int generation = second.groupMetadata().generationId();
        first.close();
        var again = consumer(member("static", "group.instance.id", "one"));
        again.subscribe(List.of(topic));
        until(() -> {
            again.poll(Duration.ofMillis(50));
            second.poll(Duration.ofMillis(50));
            return again.assignment().equals(before);
        }, "a static member gets its partitions back");
        check(second.groupMetadata().generationId() == generation, "no rebalance for the member that stayed");
        again.close();
        second.close();
    }

    static void administer(String topic) throws Exception {
        try (Admin admin = Admin.create(config())) {
            var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            var set = new AlterConfigOp(new ConfigEntry("retention.ms", "3600000"), AlterConfigOp.OpType.SET);
            admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all().get();
            var found = admin.describeConfigs(List.of(resource)).all().get().get(resource).get("retention.ms");
            check(found.value().equals("3600000"), "retention.ms, found " + found.value());
            var partition = new TopicPartition(topic, 0);
            var trimmed = admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(1000))).all();
            trimmed.get();
            var earliest = admin.listOffsets(Map.of(partition, OffsetSpec.earliest())).partitionResult(partition).get();
            check(earliest.offset() == 1000, "the first offset after trimming, found " + earliest.offset());
            boolean listed = admin.listGroups().all().get().stream().anyMatch(g -> g.groupId().equals("group-" + topic));
            check(listed, "the group in the list of groups");
            admin.deleteConsumerGroups(List.of("group-" + topic)).all().get();
            admin.deleteTopics(List.of(topic)).all().get();
            until(() -> !names(admin).contains(topic), "the topic is gone");
        }
    }

    static Set<String> names(Admin admin) {
        try {
            return admin.listTopics().names().get();
        } catch (Exception error) {
            throw new AssertionError(error);
        }
    }

    static void until(BooleanSupplier done, String what) {
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
