"""kafka-python. Each line "cell FEATURE OUTCOME" fills a cell of the matrix in docs/clients.md; whatever is not as it
should be ends the program."""

import sys
import threading

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

RECORDS = 10_000
BROKER = sys.argv[1]


def cell(feature, outcome):
    print("cell", feature, outcome, sep="\t")


def key(n):
    return None if n % 10 == 0 else f"key-{n % 100}".encode()


def value(n):
    return None if n % 50 == 1 else bytes([n % 256]) * (900_000 if n == 7 else n % 300)


def create(topic):
    admin = KafkaAdminClient(bootstrap_servers=BROKER)
    admin.create_topics([NewTopic(topic, 3, 1)])
    admin.create_partitions({topic: NewPartitions(4)})
    admin.close()


def produce(topic, codec):
    producer = KafkaProducer(
        bootstrap_servers=BROKER,
        compression_type=None if codec == "none" else codec,
        acks="all",
        linger_ms=5,
        enable_idempotence=True,
    )
    futures = [
        producer.send(topic, key=key(n), value=value(n), partition=n % 4, headers=[("n", str(n).encode())])
        for n in range(RECORDS)
    ]
    for future in futures:
        future.get(timeout=60)
    producer.close()


def member(topic, group, **more):
    return KafkaConsumer(
        topic,
        bootstrap_servers=BROKER,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **more,
    )


def consume(topic):
    consumer = member(topic, f"group-{topic}", consumer_timeout_ms=20_000)
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


def seek(topic):
    consumer = KafkaConsumer(bootstrap_servers=BROKER, consumer_timeout_ms=20_000)
    partition = TopicPartition(topic, 1)
    consumer.assign([partition])
    consumer.seek(partition, 100)
    wanted = next(consumer)
    assert wanted.offset == 100, wanted.offset
    found = consumer.offsets_for_times({partition: wanted.timestamp})[partition].offset
    assert found <= 100, found
    assert consumer.end_offsets([partition])[partition] == RECORDS // 4
    consumer.close()


class Sharer(threading.Thread):
    """A member that polls until it has a number of partitions, and then on until it is told to leave."""

    def __init__(self, topic, group, **more):
        super().__init__(daemon=True)
        self.consumer = member(topic, group, **more)
        self.wanted, self.reached, self.leaves = 2, threading.Event(), threading.Event()
        self.start()

    def run(self):
        while not self.leaves.is_set():
            self.consumer.poll(timeout_ms=50)
            if len(self.consumer.assignment()) == self.wanted:
                self.reached.set()
        self.consumer.close()

    def has(self, what):
        assert self.reached.wait(60), what

    def leave(self):
        self.leaves.set()
        self.join()


def assignors(topic):
    for assignor in [RangePartitionAssignor, RoundRobinPartitionAssignor, StickyPartitionAssignor]:
        group = f"kafka-python-{assignor.name}"
        first, second = (Sharer(topic, group, partition_assignment_strategy=[assignor]) for _ in range(2))
        first.has(f"{assignor.name} shares four partitions")
        second.has(f"{assignor.name} shares four partitions")
        second.wanted = 4
        second.reached.clear()
        first.leave()
        second.has(f"{assignor.name} takes over")
        second.leave()


def static_member(topic):
    first, second = (Sharer(topic, "kafka-python-static", group_instance_id=name) for name in ("one", "two"))
    first.has("static members share four partitions")
    second.has("static members share four partitions")
    before = first.consumer.assignment()
    first.leave()
    again = Sharer(topic, "kafka-python-static", group_instance_id="one")
    again.has("a static member gets partitions back")
    assert again.consumer.assignment() == before, (again.consumer.assignment(), before)
    assert len(second.consumer.assignment()) == 2, "the member that stayed was disturbed"
    again.leave()
    second.leave()


def administer(topic):
    admin = KafkaAdminClient(bootstrap_servers=BROKER)
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "3600000"})])
    assert "3600000" in str(admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))
    admin.delete_records({TopicPartition(topic, 0): 1000})
    assert f"group-{topic}" in str(admin.list_groups())
    admin.delete_groups([f"group-{topic}"])
    admin.delete_topics([topic])
    assert topic not in admin.list_topics()
    admin.close()


for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
    create(f"kafka-python-{codec}")
    produce(f"kafka-python-{codec}", codec)
    consume(f"kafka-python-{codec}")
    cell(codec, "10,000")
cell("keys, nulls, headers, order", "same")
cell("largest record", "900 KB")
cell("idempotent producer", "yes")
cell("groups, commits", "yes")
seek("kafka-python-none")
cell("seek by offset and time", "yes")
assignors("kafka-python-none")
cell("assignors", "range, round robin, sticky")
static_member("kafka-python-none")
cell("static membership", "comes back without a rebalance")
administer("kafka-python-gzip")
cell("administering", "create, grow, configure, trim, list and delete groups, delete")
