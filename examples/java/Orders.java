import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;

/** Ten orders, keyed by customer, written and read by a consumer group. */
public class Orders {
    public static void main(String[] args) throws Exception {
        String broker = args.length > 0 ? args[0] : "127.0.0.1:9092";
        String topic = "orders-java";

        Map<String, Object> toWrite = Map.of("bootstrap.servers", broker, "acks", "all");
        try (var producer = new KafkaProducer<>(toWrite, new StringSerializer(), new StringSerializer())) {
            for (int n = 0; n < 10; n++) {
                producer.send(new ProducerRecord<>(topic, "customer-" + n % 3, "order " + n));
            }
        }

        Map<String, Object> toRead =
            Map.of("bootstrap.servers", broker, "group.id", "billing-java", "auto.offset.reset", "earliest");
        try (var consumer = new KafkaConsumer<>(toRead, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(topic));
            int seen = 0;
            while (seen < 10) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    System.out.printf(
                        "%s: %s (partition %d, offset %d)%n",
                        record.key(), record.value(), record.partition(), record.offset());
                    seen++;
                }
            }
        }
    }
}
