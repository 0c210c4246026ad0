// A BullMQ worker process, as a scaler starts and stops it; docs/workers.md shows its last lines.
// WORKER_QUEUE, WORKER_REDIS (host:port), WORKER_CONCURRENCY, WORKER_JOB_MS; each job's id is pushed to ran:QUEUE.
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "bullmq6";
import Redis from "ioredis";

const { WORKER_QUEUE: queue, WORKER_REDIS: address, WORKER_CONCURRENCY = "1", WORKER_JOB_MS = "100" } = process.env;
const [host, port] = address.split(":");
const connection = new Redis({ host, port: Number(port), maxRetriesPerRequest: null });

const work = async (job) => {
  await connection.rpush(`ran:${queue}`, job.id);
  await sleep(Number(WORKER_JOB_MS));
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
