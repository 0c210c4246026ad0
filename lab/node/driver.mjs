// Drives one version of BullMQ for lab/driver.py: a JSON object per line on stdin, a response on stdout.
import Redis, { Cluster } from "ioredis";
import { newWorker, processor, release, serve } from "./common.mjs";

console.log = console.error; // stdout has responses only

const { version, prefix, connection: address } = JSON.parse(process.argv[2]);
const { FlowProducer, Queue, QueueScheduler, Worker } = await import(`bullmq${version}`);

const forever = { maxRetriesPerRequest: null }; // BullMQ requires it for a worker's connection
const connection = address.nodes
  ? new Cluster(address.nodes, { redisOptions: forever })
  : new Redis({ ...address, ...forever });
connection.on("error", (error) => console.error(error.message));

const queues = new Map();
const workers = new Map();

function queueNamed(name) {
  if (!queues.has(name)) {
    const queue = new Queue(name, { connection, prefix });
    queue.on("error", (error) => console.error(error.message));
    queues.set(name, queue);
  }
  return queues.get(name);
}

// Version 1 promotes delayed jobs, and finds stalled ones, in an object of its own.
async function scheduled(name, { stalledInterval = 30_000, scheduler: wanted = true }) {
  if (version !== 1 || !wanted) return;
  const scheduler = new QueueScheduler(name, { connection, prefix, stalledInterval });
  scheduler.on("error", (error) => console.error(error.message));
  await scheduler.waitUntilReady();
}

const plain = (answer) => (answer?.queueQualifiedName ? { id: answer.id } : (answer ?? null)); // a job cannot be serialized

const verbs = {
  async queue({ queue, method, arguments: given }) {
    const answer = await queueNamed(queue)[method](...given);
    return Array.isArray(answer) ? answer.map(plain) : plain(answer);
  },
  async job({ queue, id, method, arguments: given }) {
    const job = await queueNamed(queue).getJob(id);
    await job[method](...given);
    return null;
  },
  async flow({ flow }) {
    const producer = new FlowProducer({ connection, prefix });
    await producer.add(flow);
    return null;
  },
  async start_worker({ queue, behaviour, opts }) {
    const state = newWorker();
    const worker = new Worker(queue, processor(behaviour, state), { ...opts, connection, prefix });
    worker.on("error", (error) => console.error(error.message));
    await worker.waitUntilReady();
    await scheduled(queue, opts);
    const id = workers.size + 1;
    workers.set(id, { worker, ...state });
    return id;
  },
  tally: ({ worker }) => workers.get(worker).tally,
  durations: ({ worker }) => workers.get(worker).durations,
  release: ({ worker }) => release(workers.get(worker)),
  async stop_worker({ worker, force }) {
    if (!force) release(workers.get(worker));
    await workers.get(worker).worker.close(force);
    return null;
  },
  async close() {
    await Promise.all([...workers.values()].map(({ worker }) => worker.close(true)));
    await Promise.all([...queues.values()].map((queue) => queue.close()));
    connection.disconnect();
    return null;
  },
};

await serve(verbs);
