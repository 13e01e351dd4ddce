// Ten orders, keyed by customer, written and read by a consumer group.
const { Kafka, logLevel } = require("kafkajs");

const broker = process.argv[2] || "127.0.0.1:9092";
const kafka = new Kafka({ clientId: "orders", brokers: [broker], logLevel: logLevel.ERROR });
const topic = "orders-javascript";

async function main() {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const messages = Array.from({ length: 10 }, (_, n) => ({ key: `customer-${n % 3}`, value: `order ${n}` }));
  await producer.send({ topic, messages });
  await producer.disconnect();

  const consumer = kafka.consumer({ groupId: "billing-javascript" });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  let seen = 0;
  await new Promise((resolve) => {
    consumer.run({
      eachMessage: async ({ partition, message }) => {
        console.log(`${message.key}: ${message.value} (partition ${partition}, offset ${message.offset})`);
        if (++seen === 10) resolve();
      },
    });
  });
  await consumer.disconnect();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
