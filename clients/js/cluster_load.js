// kafkajs's idempotent producer, otherwise with its defaults, that writes numbered lines to every partition of a topic,
// whatever happens to the cluster. Arguments and commands are those of clients/python/cluster_load.py. A partition's next
// lines leave when its last ones are acknowledged: kafkajs keeps no order otherwise. Lines that it gives up are counted
// as failures and sent again as they were.
const { Kafka, logLevel } = require("kafkajs");
const readline = require("readline");

const [bootstrap, topic, count, rate] = process.argv.slice(2);
const BATCH_MAX = 200;
const partitions = [...Array(Number(count)).keys()];
const now = () => performance.now();
const last = partitions.map(now);
const longest = partitions.map(() => 0);
const acknowledged = partitions.map(() => 0);
const failures = [];
const start = now();
let ending = false;
// Lines of each partition that are due; after the end, what was due then.
let due = () => Math.floor(((now() - start) / 1000) * Number(rate));
const pause = (millis) => new Promise((resolve) => setTimeout(resolve, millis));

function gaps(isMark) {
  return partitions.map((at) => {
    const present = now() - last[at];
    const gap = isMark ? Math.max(longest[at], present) : present;
    if (isMark) longest[at] = 0;
    return Math.round(gap);
  });
}

async function deliver(producer, messages) {
  for (;;) {
    try {
      return await producer.send({ topic, acks: -1, messages });
    } catch (error) {
      failures.push(`${error}`);
      await pause(100);
    }
  }
}

async function write(producer, partition) {
  for (;;) {
    const from = acknowledged[partition];
    const to = Math.min(due(), from + BATCH_MAX);
    if (from === to && ending) return;
    if (from === to) {
      await pause(5);
      continue;
    }
    const messages = [];
    for (let line = from; line < to; line++) messages.push({ partition, value: `${line}` });
    await deliver(producer, messages);
    longest[partition] = Math.max(longest[partition], now() - last[partition]);
    last[partition] = now();
    acknowledged[partition] = to;
  }
}

function listen() {
  const input = readline.createInterface({ input: process.stdin });
  const end = () => {
    const sent = due();
    due = () => sent;
    ending = true;
    input.close();
  };
  input.on("line", (line) => {
    if (line !== "mark" && line !== "look") return end();
    const sum = acknowledged.reduce((one, other) => one + other, 0);
    console.log(`${line} ${gaps(line === "mark")} ${sum} ${failures.length}`);
  });
  input.on("close", () => ending || end());
}

async function main() {
  listen();
  const kafka = new Kafka({ brokers: bootstrap.split(","), logLevel: logLevel.WARN });
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  await Promise.all(partitions.map((partition) => write(producer, partition)));
  for (const failure of new Set(failures)) console.error(`not acknowledged at first: ${failure}`);
  console.log(`done ${acknowledged} ${due()} ${failures.length}`);
  await producer.disconnect();
}

main();
