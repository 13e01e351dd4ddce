"""Ten orders, keyed by customer, written and read by a consumer group."""

import sys

from confluent_kafka import Consumer, Producer

broker = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092"
topic = "orders-python"

producer = Producer({"bootstrap.servers": broker, "enable.idempotence": True})
for n in range(10):
    producer.produce(topic, key=f"customer-{n % 3}", value=f"order {n}")
producer.flush()

consumer = Consumer({"bootstrap.servers": broker, "group.id": "billing-python", "auto.offset.reset": "earliest"})
consumer.subscribe([topic])
seen = 0
while seen < 10:
    message = consumer.poll(1.0)
    if message is None:
        continue
    if message.error():
        raise SystemExit(message.error())
    key, value = message.key().decode(), message.value().decode()
    print(f"{key}: {value} (partition {message.partition()}, offset {message.offset()})")
    seen += 1
consumer.close()
