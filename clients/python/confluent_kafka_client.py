"""librdkafka through confluent-kafka. Each line "cell FEATURE OUTCOME" fills a cell of the matrix in docs/clients.md;
whatever is not as it should be ends the program."""

import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

RECORDS = 10_000
BROKER = sys.argv[1]
ADMIN = AdminClient({"bootstrap.servers": BROKER})


def cell(feature, outcome):
    print("cell", feature, outcome, sep="\t")


def key(n):
    return None if n % 10 == 0 else f"key-{n % 100}".encode()


def value(n):
    if n % 50 == 1:
        return None
    return bytes([n % 256]) * (900_000 if n == 7 else n % 300)


def all_of(futures):
    for future in futures.values():
        future.result(10)


def create(topic):
    all_of(ADMIN.create_topics([NewTopic(topic, 3, 1)]))
    all_of(ADMIN.create_partitions([NewPartitions(topic, 4)]))


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


def member(group, **more):
    config = {
        "bootstrap.servers": BROKER,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 10_000,
    }
    return Consumer({**config, **{name.replace("_", "."): what for name, what in more.items()}})


def consume(topic, group):
    consumer = member(group)
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
    consumer.close()


def seek(topic):
    consumer = member("seeker")
    consumer.assign([TopicPartition(topic, 1, 100)])
    wanted = None
    while wanted is None:
        wanted = consumer.poll(1)
    assert wanted.offset() == 100, wanted.offset()
    found = consumer.offsets_for_times([TopicPartition(topic, 1, wanted.timestamp()[1])], 10)
    assert 0 <= found[0].offset <= 100, found
    consumer.close()


def until(done, what):
    end = time.time() + 60
    while not done():
        assert time.time() < end, what


def shared(first, second):
    def look():
        first.poll(0.05)
        second.poll(0.05)
        return len(first.assignment()) == 2 and len(second.assignment()) == 2

    return look


def assignors(topic):
    for assignor in ["range", "roundrobin", "cooperative-sticky"]:
        first, second = (member(f"confluent-{assignor}", partition_assignment_strategy=assignor) for _ in range(2))
        first.subscribe([topic])
        second.subscribe([topic])
        until(shared(first, second), f"{assignor} shares four partitions")
        first.close()
        until(lambda: (second.poll(0.05), len(second.assignment()) == 4)[1], f"{assignor} takes over")
        second.close()


def static_member(topic):
    first = member("confluent-static", group_instance_id="one")
    second = member("confluent-static", group_instance_id="two")
    first.subscribe([topic])
    second.subscribe([topic])
    until(shared(first, second), "static members share four partitions")
    before = {part.partition for part in first.assignment()}
    first.close()
    again = member("confluent-static", group_instance_id="one")
    again.subscribe([topic])

    def back():
        again.poll(0.05)
        second.poll(0.05)
        assert len(second.assignment()) == 2, "the member that stayed was disturbed"
        return {part.partition for part in again.assignment()} == before

    until(back, "a static member gets its partitions back")
    again.close()
    second.close()


def administer(topic):
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entry = ConfigEntry("retention.ms", "3600000", incremental_operation=AlterConfigOpType.SET)
    all_of(ADMIN.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]))
    found = ADMIN.describe_configs([resource])[resource].result(10)["retention.ms"].value
    assert found == "3600000", found
    all_of(ADMIN.delete_records([TopicPartition(topic, 0, 1000)]))
    groups = [group.group_id for group in ADMIN.list_consumer_groups().result(10).valid]
    assert f"group-{topic}" in groups, groups
    all_of(ADMIN.delete_consumer_groups([f"group-{topic}"]))
    all_of(ADMIN.delete_topics([topic], operation_timeout=10))
    until(lambda: topic not in ADMIN.list_topics(timeout=10).topics, "the topic is gone")


for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
    create(f"confluent-{codec}")
    produce(f"confluent-{codec}", codec)
    consume(f"confluent-{codec}", f"group-confluent-{codec}")
    cell(codec, "10,000")
cell("keys, nulls, headers, order", "same")
cell("largest record", "900 KB")
cell("idempotent producer", "yes")
cell("groups, commits", "yes")
seek("confluent-none")
cell("seek by offset and time", "yes")
assignors("confluent-none")
cell("assignors", "range, round robin, cooperative sticky")
static_member("confluent-none")
cell("static membership", "comes back without a rebalance")
administer("confluent-gzip")
cell("administering", "create, grow, configure, trim, list and delete groups, delete")
