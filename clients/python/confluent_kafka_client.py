"""librdkafka through confluent-kafka: every codec, idempotent, keys, headers, nulls, groups, seeks by time."""

import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

RECORDS = 10_000
BROKER = sys.argv[1]


def key(n):
    return None if n % 10 == 0 else f"key-{n % 100}".encode()


def value(n):
    if n % 50 == 1:
        return None
    return bytes([n % 256]) * (900_000 if n == 7 else n % 300)


def administer(topic):
    admin = AdminClient({"bootstrap.servers": BROKER})
    for future in admin.create_topics([NewTopic(topic, 4, 1)]).values():
        future.result(10)


def produce(topic, codec):
    failed = []
    producer = Producer(
        {"bootstrap.servers": BROKER, "compression.type": codec, "enable.idempotence": True, "linger.ms": 5}
    )
    for n in range(RECORDS):
        producer.produce(
            topic,
            key=key(n),
            value=value(n),
            partition=n % 4,
            headers=[("n", str(n).encode())],
            on_delivery=lambda error, _message: failed.append(error) if error else None,
        )
        producer.poll(0)
    assert producer.flush(60) == 0 and not failed, failed


def consume(topic, group):
    config = {
        "bootstrap.servers": BROKER,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    consumer = Consumer(config)
    consumer.subscribe([topic])
    following = [0, 1, 2, 3]
    count, end = 0, time.time() + 60
    while count < RECORDS and time.time() < end:
        for message in consumer.consume(500, 0.5):
            assert message.error() is None, message.error()
            n = following[message.partition()]
            following[message.partition()] += 4
            assert message.headers() == [("n", str(n).encode())], (message.headers(), n)
            assert message.key() == key(n) and message.value() == value(n), n
            count += 1
    assert count == RECORDS, count
    consumer.commit(asynchronous=False)
    committed = consumer.committed([TopicPartition(topic, p) for p in range(4)], 10)
    assert sum(part.offset for part in committed) == RECORDS, committed
    found = consumer.offsets_for_times([TopicPartition(topic, 0, 0)], 10)
    assert found[0].offset == 0, found
    consumer.close()


for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
    topic = f"confluent-{codec}"
    administer(topic)
    produce(topic, codec)
    consume(topic, f"group-{topic}")
    print(f"| confluent-kafka (librdkafka) | {codec} | {RECORDS} | same content; idempotent; group; seek by time |")
