"""An idempotent producer that writes numbered lines to every partition of a topic, whatever happens to the cluster.

Usage: cluster_load.py BOOTSTRAP TOPIC PARTITIONS LINES_PER_SECOND. Line K of a partition is the text K. Commands on
standard input: `mark` prints the longest time between two acknowledgements of each partition since the last mark, in
milliseconds; `look` prints how long ago each was acknowledged something; `end` stops writing, waits for what is under way
and prints how many lines of each partition are acknowledged. Everything but the address, the idempotence and acks=all is left at its default.
"""

import sys
import threading
import time

from confluent_kafka import Producer

BOOTSTRAP, TOPIC, PARTITIONS, RATE = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])

lock = threading.Lock()
last = [time.monotonic()] * PARTITIONS
longest = [0.0] * PARTITIONS
acknowledged = [0] * PARTITIONS
failures = []
ending = threading.Event()


def delivered(partition):
    def note(error, _message):
        now = time.monotonic()
        with lock:
            if error is not None:
                failures.append(str(error))
                return
            longest[partition] = max(longest[partition], now - last[partition])
            last[partition] = now
            acknowledged[partition] += 1

    return note


def mark():
    with lock:
        now = time.monotonic()
        # A gap that has not ended yet counts, too.
        gaps = [max(longest[p], now - last[p]) for p in range(PARTITIONS)]
        longest[:] = [0.0] * PARTITIONS
        return gaps


def look():
    with lock:
        now = time.monotonic()
        return [now - last[p] for p in range(PARTITIONS)]


def listen():
    for line in sys.stdin:
        command = line.strip()
        if command not in ("mark", "look"):
            break
        gaps = ",".join(str(round(gap * 1000)) for gap in (mark() if command == "mark" else look()))
        with lock:
            print(f"{command} {gaps} {sum(acknowledged)} {len(failures)}", flush=True)
    ending.set()


producer = Producer({"bootstrap.servers": BOOTSTRAP, "enable.idempotence": True, "acks": "all"})
callbacks = [delivered(partition) for partition in range(PARTITIONS)]
threading.Thread(target=listen, daemon=True).start()
sent, start = 0, time.monotonic()
while not ending.is_set():
    due = int((time.monotonic() - start) * RATE)
    while sent < due:
        try:
            for partition in range(PARTITIONS):
                producer.produce(TOPIC, str(sent), partition=partition, on_delivery=callbacks[partition])
            sent += 1
        except BufferError:
            # All partitions at once or none: what was taken of this line must not be sent again.
            sys.exit("the producer's queue is full: nothing was acknowledged for too long")
    producer.poll(0.002)
left = producer.flush(120)
for failure in sorted(set(failures)):
    print(f"not acknowledged: {failure}", file=sys.stderr)
print(f"done {','.join(map(str, acknowledged))} {sent} {len(failures) + left}", flush=True)
