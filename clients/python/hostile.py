"""Bytes that no Kafka client sends: random, truncated, huge lengths, slow drip, thousands of idle connections.

Usage: hostile.py HOST:PORT PID. Fails if the broker's memory grows beyond bounds or if it does not serve on.
"""

import random
import socket
import struct
import sys
import time

HOST, PORT = sys.argv[1].rsplit(":", 1)
PID = int(sys.argv[2])
GROWTH_MAX_KB = 64 << 10
random.seed(7)


def rss_kb():
    with open(f"/proc/{PID}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def connect():
    return socket.create_connection((HOST, int(PORT)), timeout=5)


def serves():
    """A plain ApiVersions request is answered."""
    body = struct.pack(">hhih", 18, 0, 77, -1)
    with connect() as client:
        client.sendall(struct.pack(">i", len(body)) + body)
        size = struct.unpack(">i", client.recv(4, socket.MSG_WAITALL))[0]
        answer = client.recv(size, socket.MSG_WAITALL)
        assert struct.unpack(">i", answer[:4])[0] == 77


def throw(data):
    """Sends and waits for the broker to close, or to wait for more."""
    with connect() as client:
        try:
            client.sendall(data)
            client.settimeout(0.02)
            while client.recv(65536):
                pass
        except (socket.timeout, ConnectionError):
            pass


serves()
before = rss_kb()
for length in [-1, -(2**31), 2**31 - 1, 200 << 20, 100 << 20, 0, 1, 7]:
    for _ in range(20):
        throw(struct.pack(">i", length) + random.randbytes(64))
for _ in range(500):
    throw(random.randbytes(random.randrange(1, 4096)))
for api in range(-1, 100):
    for version in [-1, 0, 3, 9, 13, 99]:
        body = struct.pack(">hhih", api, version, 1, -1) + random.randbytes(random.randrange(0, 200))
        throw(struct.pack(">i", len(body)) + body)
# Arrays that claim two billion elements.
for api, version in [(3, 1), (3, 9), (0, 9), (1, 12), (18, 3), (19, 5), (8, 8), (11, 7)]:
    body = struct.pack(">hhih", api, version, 1, -1) + b"\x00" + b"\x7f\xff\xff\xff" * 8 + b"\xff\xff\xff\xff\x0f" * 8
    throw(struct.pack(">i", len(body)) + body)
serves()
idle = [connect() for _ in range(5000)]
drip = [connect() for _ in range(200)]
for k in range(5):
    for client in drip:
        client.sendall(b"\x00\x10\x00\x00\x00"[k : k + 1])
    serves()
grown = rss_kb() - before
for client in idle + drip:
    client.close()
time.sleep(0.5)
serves()
assert grown < GROWTH_MAX_KB, f"memory grew by {grown} KiB"
print(f"hostile bytes, 5000 idle and 200 dripping connections: memory grew by {grown} KiB, others unharmed")
