// A worker process as n8n's: `node bull-worker.mjs worker --concurrency=2`, with n8n's names of variables.
// JOB_MS is how long a job takes; each job's id is pushed to ran:jobs.
import { setTimeout as sleep } from "node:timers/promises";
import Queue from "bull4";
import Redis from "ioredis";

const { QUEUE_BULL_PREFIX: prefix = "bull", QUEUE_BULL_REDIS_HOST: host, QUEUE_BULL_REDIS_PORT: port, JOB_MS = "100" } = process.env;
const concurrency = Number(process.argv.find((word) => word.startsWith("--concurrency="))?.split("=")[1] ?? 10);
const redis = { host, port: Number(port) };
const record = new Redis(redis);
const queue = new Queue("jobs", { redis, prefix });
queue.on("error", (error) => console.error(error.message));

let running = 0;
queue.process("job", concurrency, async (job) => {
  running++;
  try {
    await record.rpush("ran:jobs", job.id);
    await sleep(Number(JOB_MS));
    return { success: true };
  } finally {
    running--;
  }
});

process.once("SIGTERM", async () => {
  await queue.pause(true, true); // takes no more jobs
  while (running) await sleep(50);
  await sleep(100); // the last job is reported
  process.exit(0);
});
