// A BullMQ worker process, as a scaler starts and stops it; docs/workers.md shows its last lines.
// WORKER_QUEUE, WORKER_REDIS (host:port; several with commas: nodes of a cluster), WORKER_CONCURRENCY, WORKER_JOB_MS; each job's id is pushed to ran:QUEUE.
// WORKER_JOB_MS_KEY: a key of Redis that has the ms of a job now, times the job's own data.factor.
// WORKER_START_MS (least-most): it connects so long after its start.
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "bullmq6";
import Redis from "ioredis";

const { WORKER_QUEUE: queue, WORKER_REDIS: address, WORKER_CONCURRENCY = "1", WORKER_JOB_MS = "100", WORKER_JOB_MS_KEY: key, WORKER_START_MS = "0-0" } = process.env;
const nodes = address.split(",").map((node) => ({ host: node.split(":")[0], port: Number(node.split(":")[1]) }));
const [least, most] = WORKER_START_MS.split("-").map(Number);
await sleep(Math.max(0, least + (most - least) * Math.random() - performance.now())); // node's own start is a part of it

const redisOptions = { maxRetriesPerRequest: null };
const connection = nodes.length > 1 ? new Redis.Cluster(nodes, { redisOptions }) : new Redis({ ...nodes[0], ...redisOptions });

const always = async (ask) => {
  for (;;) {
    try {
      return await ask();
    } catch (error) { // a master is gone, or refuses writes
      console.error(error.message);
      await sleep(500);
    }
  }
};

const work = async (job) => {
  await always(() => connection.rpush(`ran:${queue}`, job.id));
  const ms = Number((key && (await always(() => connection.get(key)))) ?? WORKER_JOB_MS);
  await sleep(ms * (job.data?.factor ?? 1));
};

const worker = new Worker(queue, work, {
  connection,
  concurrency: Number(WORKER_CONCURRENCY),
  name: process.env.OXHERD_WORKER,
});
worker.on("error", (error) => console.error(error.message));
worker.on("completed", (job) => console.log(`job ${job.id} is done`));

process.once("SIGTERM", async () => {
  await worker.close(); // takes no more jobs, and waits for those it has
  process.exit(0);
});
