"""kafka-python: every codec that it speaks without further packages, keys, headers, nulls, groups."""

import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

RECORDS = 10_000
BROKER = sys.argv[1]


def key(n):
    return None if n % 10 == 0 else f"key-{n % 100}".encode()


def value(n):
    return None if n % 50 == 1 else bytes([n % 256]) * (n % 300)


def run(codec):
    topic = f"kafka-python-{codec}"
    admin = KafkaAdminClient(bootstrap_servers=BROKER)
    admin.create_topics([NewTopic(topic, 4, 1)])
    admin.close()
    producer = KafkaProducer(
        bootstrap_servers=BROKER, compression_type=None if codec == "none" else codec, acks="all", linger_ms=5
    )
    futures = [
        producer.send(topic, key=key(n), value=value(n), partition=n % 4, headers=[("n", str(n).encode())])
        for n in range(RECORDS)
    ]
    for future in futures:
        future.get(timeout=60)
    producer.close()
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=BROKER,
        group_id=f"group-{topic}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=20_000,
    )
    following = [0, 1, 2, 3]
    count = 0
    for message in consumer:
        n = following[message.partition]
        following[message.partition] += 4
        assert list(message.headers) == [("n", str(n).encode())], (message.headers, n)
        assert message.key == key(n) and message.value == value(n), n
        count += 1
        if count == RECORDS:
            break
    assert count == RECORDS, count
    consumer.commit()
    committed = sum(consumer.committed(TopicPartition(topic, p)) for p in range(4))
    assert committed == RECORDS, committed
    consumer.close()
    print(f"| kafka-python | {codec} | {RECORDS} | same content; group |")


for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
    run(codec)
