// A worker of the demo's {newsletter}, as the scaler starts and stops it. DEMO_NODES is the cluster's addresses.
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

const lab = createRequire(new URL("../../lab/node/", import.meta.url));
const { Worker } = lab("bullmq6");
const { Cluster } = lab("ioredis");

const complain = (error) => console.error(error.message);
const nodes = process.env.DEMO_NODES.split(",").map((address) => {
  const [host, port] = address.split(":");
  return { host, port: Number(port) };
});
const connection = new Cluster(nodes, { redisOptions: { maxRetriesPerRequest: null } });
connection.on("error", complain);

const work = () => sleep(300 + Math.random() * 200);
const worker = new Worker("{newsletter}", work, { connection, concurrency: 4, name: process.env.OXHERD_WORKER });
worker.on("error", complain);

process.once("SIGTERM", async () => {
  await Promise.race([worker.close(), sleep(5_000)]); // without Redis it would wait for ever
  process.exit(0);
});
