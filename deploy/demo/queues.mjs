// The demo's producers and workers: five queues with different loads, about 30 jobs a second in all.
// The {tags} put them on all three shards. lab.driver.Driver runs it: a JSON object per line as a request, one as the response.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const lab = createRequire(new URL("../../lab/node/", import.meta.url));
const { Queue, Worker } = lab("bullmq6");
const { Cluster } = lab("ioredis");

const { connection: address } = JSON.parse(process.argv[2]);
const connection = new Cluster(address.nodes, { redisOptions: { maxRetriesPerRequest: null } });
const complain = (error) => console.error(error.message);
connection.on("error", complain);

const between = (low, high) => low + Math.random() * (high - low);

/** Every `everyMs` a batch of `batch` jobs is added; each takes a worker `ms` and fails with probability `failing`. */
const loads = [
  { name: "{mail}", everyMs: 100, concurrency: 5, ms: [50, 250] },
  { name: "{newsletter}", everyMs: 30_000, batch: 200 }, // its workers are the scaler's: worker.mjs
  { name: "{webhooks}", everyMs: 250, concurrency: 3, ms: [20, 200], failing: 0.25, opts: () => ({ attempts: 4, backoff: 1_000 }) },
  { name: "{reminders}", everyMs: 500, concurrency: 2, ms: [10, 50], opts: () => ({ delay: between(2_000, 60_000) }) },
  { name: "{thumbnails}", everyMs: 120, concurrency: 1, ms: [100, 140], opts: () => ({ priority: Math.ceil(between(0, 5)) }) },
];

const retention = { removeOnComplete: 1_000, removeOnFail: 50 }; // below the 100 of HighFailedJobs, which only an action should fire
const DOOMED = "doomed"; // a job of this name always fails

const queues = new Map(loads.map(({ name }) => [name, new Queue(name, { connection }).on("error", complain)]));
const workers = new Map();

function work({ name, concurrency, ms, failing = 0 }) {
  const process = async (job) => {
    await sleep(between(...ms));
    if (job.name === DOOMED || Math.random() < failing) throw new Error("the other side answered 503");
  };
  workers.set(name, new Worker(name, process, { connection, concurrency, name: "demo" }).on("error", complain));
}

async function produce({ name, everyMs, batch = 1, opts = () => ({}) }) {
  while (true) {
    const jobs = Array.from({ length: batch }, (_, n) => ({ name: "demo", data: { n }, opts: { ...retention, ...opts() } }));
    await queues.get(name).addBulk(jobs).catch(complain); // a failover in between is part of the demo
    await sleep(everyMs);
  }
}

const verbs = {
  stop_workers: ({ queue }) => workers.get(queue)?.close().then(() => workers.delete(queue)),
  start_workers({ queue }) {
    if (!workers.has(queue)) work(loads.find(({ name }) => name === queue));
  },
  fail_jobs({ queue, count }) {
    const jobs = Array.from({ length: count }, (_, n) => ({ name: DOOMED, data: { n }, opts: { removeOnComplete: true } }));
    return queues.get(queue).addBulk(jobs).then(() => null);
  },
  clear_failed: ({ queue }) => queues.get(queue).clean(0, 0, "failed").then((ids) => ids.length),
  close: () => Promise.race([Promise.all([...workers.values()].map((worker) => worker.close())), sleep(2_000)]).then(() => null),
};

for (const load of loads) {
  if (load.concurrency) work(load);
  produce(load);
}

for await (const line of createInterface({ input: process.stdin })) {
  const { verb, ...given } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ value: (await verbs[verb](given)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message }));
  }
  if (verb === "close") break;
}
process.exit(0);
