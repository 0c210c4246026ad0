// The demo's producers and workers: five queues, each with a character, about 30 jobs a second in all.
// The {tags} put them on all three shards.
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const { Queue, Worker } = createRequire(new URL("../../lab/node/", import.meta.url))("bullmq6");
const { Cluster } = createRequire(new URL("../../lab/node/", import.meta.url))("ioredis");

const addresses = process.argv.slice(2).map((address) => {
  const [host, port] = address.split(":");
  return { host, port: Number(port) };
});
const connection = new Cluster(addresses, { redisOptions: { maxRetriesPerRequest: null } });
const complain = (error) => console.error(error.message);
connection.on("error", complain);

const between = (low, high) => low + Math.random() * (high - low);

/** Every `everyMs` a batch of `batch` jobs is added; each takes a worker `ms` and fails with probability `failing`. */
const characters = [
  { name: "{mail}", everyMs: 100, concurrency: 5, ms: [50, 250] },
  { name: "{newsletter}", everyMs: 30_000, batch: 100, concurrency: 4, ms: [300, 500] },
  { name: "{webhooks}", everyMs: 250, concurrency: 3, ms: [20, 200], failing: 0.5, opts: () => ({ attempts: 2, backoff: 1_000 }) },
  { name: "{reminders}", everyMs: 500, concurrency: 2, ms: [10, 50], opts: () => ({ delay: between(2_000, 60_000) }) },
  { name: "{thumbnails}", everyMs: 120, concurrency: 1, ms: [100, 140], opts: () => ({ priority: Math.ceil(between(0, 5)) }) },
];

const kept = { removeOnComplete: 1_000, removeOnFail: 1_000 };

function work({ name, concurrency, ms, failing = 0 }) {
  const process = async () => {
    await sleep(between(...ms));
    if (Math.random() < failing) throw new Error("the other side answered 503");
  };
  return new Worker(name, process, { connection, concurrency, name: "demo" }).on("error", complain);
}

async function produce({ name, everyMs, batch = 1, opts = () => ({}) }) {
  const queue = new Queue(name, { connection }).on("error", complain);
  while (true) {
    const jobs = Array.from({ length: batch }, (_, n) => ({ name: "demo", data: { n }, opts: { ...kept, ...opts() } }));
    await queue.addBulk(jobs).catch(complain); // a failover in between is part of the demo
    await sleep(everyMs);
  }
}

const workers = characters.map(work);
characters.forEach(produce);

process.on("SIGTERM", async () => {
  await Promise.race([Promise.all(workers.map((worker) => worker.close())), sleep(2_000)]);
  process.exit(0);
});
