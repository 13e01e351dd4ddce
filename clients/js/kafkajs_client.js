// kafkajs: plain and gzip (the codecs it has of its own), keys, headers, nulls, groups.
const { Kafka, CompressionTypes, logLevel } = require("kafkajs");

const RECORDS = 10000;
const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.ERROR });

const key = (n) => (n % 10 === 0 ? null : Buffer.from(`key-${n % 100}`));
const value = (n) => (n % 50 === 1 ? null : Buffer.alloc(n % 300, n % 256));
const same = (a, b) => (a === null || b === null ? a === b : a.equals(b));

async function run(name, compression) {
  const topic = `kafkajs-${name}`;
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 4 }] });
  await admin.disconnect();

  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  for (let from = 0; from < RECORDS; from += 500) {
    const messages = [];
    for (let n = from; n < from + 500; n++) {
      messages.push({ key: key(n), value: value(n), partition: n % 4, headers: { n: `${n}` } });
    }
    await producer.send({ topic, messages, acks: -1, compression });
  }
  await producer.disconnect();

  const consumer = kafka.consumer({ groupId: `group-${topic}` });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  const following = [0, 1, 2, 3];
  let count = 0;
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`only ${count} of ${RECORDS}`)), 60000).unref();
    consumer
      .run({
        eachMessage: async ({ partition, message }) => {
          const n = following[partition];
          following[partition] += 4;
          if (message.headers.n.toString() !== `${n}`) reject(new Error(`order: ${message.headers.n} for ${n}`));
          if (!same(message.key, key(n)) || !same(message.value, value(n))) reject(new Error(`content of ${n}`));
          if (++count === RECORDS) resolve();
        },
      })
      .catch(reject);
  });
  await consumer.disconnect();
  console.log(`| kafkajs 2.2.4 | ${name} | ${RECORDS} | same content; idempotent; group |`);
}

run("none", CompressionTypes.None)
  .then(() => run("gzip", CompressionTypes.GZIP))
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
