// kafkajs, with its codecs as packages. Each line "cell FEATURE OUTCOME" fills a cell of the matrix in
// docs/clients.md; whatever is not as it should be ends the program.
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = require("kafkajs");
const lz4 = require("lz4js");
const { ZstdCodec } = require("zstd-codec");

const RECORDS = 10000;
const kafka = new Kafka({ brokers: [process.argv[2]], logLevel: logLevel.NOTHING });
const admin = kafka.admin();

const cell = (feature, outcome) => console.log(["cell", feature, outcome].join("\t"));
const key = (n) => (n % 10 === 0 ? null : Buffer.from(`key-${n % 100}`));
const value = (n) => (n % 50 === 1 ? null : Buffer.alloc(n === 7 ? 900000 : n % 300, n % 256));
const same = (a, b) => (a === null || b === null ? a === b : a.equals(b));

function check(holds, what) {
  if (!holds) throw new Error(`not so: ${what}`);
}

async function until(done, what) {
  const end = Date.now() + 60000;
  while (!(await done())) {
    check(Date.now() < end, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function codecs() {
  const zstd = await new Promise((resolve) => ZstdCodec.run((codec) => resolve(new codec.Simple())));
  CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: async (encoder) => Buffer.from(lz4.compress(encoder.buffer)),
    decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)),
  });
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer)),
    decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
  });
  const { None, GZIP, Snappy, LZ4, ZSTD } = CompressionTypes;
  return Object.entries({ none: None, gzip: GZIP, snappy: Snappy, lz4: LZ4, zstd: ZSTD });
}

async function create(topic) {
  await admin.createTopics({ topics: [{ topic, numPartitions: 3 }] });
  await admin.createPartitions({ topicPartitions: [{ topic, count: 4 }] });
}

async function produce(topic, compression) {
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
}

async function consume(topic, groupId) {
  const consumer = kafka.consumer({ groupId });
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
  const committed = await admin.fetchOffsets({ groupId, topics: [topic] });
  const sum = committed[0].partitions.reduce((sum, { offset }) => sum + Number(offset), 0);
  check(sum === RECORDS, `committed offsets, found ${sum}`);
}

async function seek(topic) {
  const consumer = kafka.consumer({ groupId: "kafkajs-seeker" });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic] });
  const found = new Promise((resolve) => {
    consumer.run({
      eachMessage: async ({ partition, message }) => {
        if (partition === 1) resolve(message);
      },
    });
  });
  consumer.seek({ topic, partition: 1, offset: "100" });
  const message = await found;
  check(message.offset === "100", `seek to an offset, found ${message.offset}`);
  await consumer.disconnect();
  const at = await admin.fetchTopicOffsetsByTimestamp(topic, Number(message.timestamp));
  const offset = Number(at.find(({ partition }) => partition === 1).offset);
  check(offset <= 100, `the offset of a timestamp, found ${offset}`);
}

// Two members share a topic; then one leaves and the other has all.
async function assignor(topic) {
  const shares = [0, 0];
  const member = async (at) => {
    const consumer = kafka.consumer({ groupId: "kafkajs-shared" });
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      shares[at] = (payload.memberAssignment[topic] || []).length;
    });
    await consumer.connect();
    await consumer.subscribe({ topics: [topic] });
    await consumer.run({ eachMessage: async () => {} });
    return consumer;
  };
  const [first, second] = [await member(0), await member(1)];
  await until(() => shares[0] === 2 && shares[1] === 2, "round robin shares four partitions");
  await first.disconnect();
  await until(() => shares[1] === 4, "round robin takes over");
  await second.disconnect();
}

async function administer(topic) {
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic };
  const configEntries = [{ name: "retention.ms", value: "3600000" }];
  await admin.alterConfigs({ resources: [{ ...resource, configEntries }] });
  const described = await admin.describeConfigs({ resources: [resource] });
  const entry = described.resources[0].configEntries.find(({ configName }) => configName === "retention.ms");
  check(entry.configValue === "3600000", `retention.ms, found ${entry.configValue}`);
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "1000" }] });
  const groups = await admin.listGroups();
  check(groups.groups.some(({ groupId }) => groupId === `group-${topic}`), "the group in the list of groups");
  await admin.deleteGroups([`group-${topic}`]);
  await admin.deleteTopics({ topics: [topic] });
  await until(async () => !(await admin.listTopics()).includes(topic), "the topic is gone");
}

async function main() {
  await admin.connect();
  for (const [name, compression] of await codecs()) {
    const topic = `kafkajs-${name}`;
    await create(topic);
    await produce(topic, compression);
    await consume(topic, `group-${topic}`);
    cell(name, "10,000");
  }
  cell("keys, nulls, headers, order", "same");
  cell("largest record", "900 KB");
  cell("idempotent producer", "yes");
  cell("groups, commits", "yes");
  await seek("kafkajs-none");
  cell("seek by offset and time", "yes");
  await assignor("kafkajs-none");
  cell("assignors", "round robin");
  cell("static membership", "client has none");
  await administer("kafkajs-gzip");
  cell("administering", "create, grow, configure, trim, list and delete groups, delete");
  await admin.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
