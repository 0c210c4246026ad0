// Drives one version of Bull, BullMQ's predecessor, for lab/bull.py: the same verbs as driver.mjs.
import Redis, { Cluster } from "ioredis";
import { newWorker, processor, release, serve } from "./common.mjs";

console.log = console.error; // stdout has responses only

const { version, prefix, connection: address } = JSON.parse(process.argv[2]);
const { default: Queue } = await import(`bull${version}`);

// Bull gives its own options to a single server; a cluster needs a client of ours for each purpose.
const connection = address.nodes
  ? { createClient: () => new Cluster(address.nodes, { enableReadyCheck: false, redisOptions: { maxRetriesPerRequest: null, enableReadyCheck: false } }) }
  : { redis: address };

const queues = new Map();
const workers = new Map();

function open(name, { limiter, metrics, ...settings } = {}) {
  const queue = new Queue(name, { ...connection, prefix, limiter, metrics, settings });
  queue.on("error", (error) => console.error(error.message));
  return queue;
}

function queueNamed(name) {
  if (!queues.has(name)) queues.set(name, open(name));
  return queues.get(name);
}

const plain = (answer) => (answer?.queue?.keyPrefix ? { id: String(answer.id) } : (answer ?? null)); // a job cannot be serialized

const verbs = {
  async queue({ queue, method, arguments: given }) {
    const answer = await queueNamed(queue)[method](...given);
    return Array.isArray(answer) ? answer.map(plain) : plain(answer);
  },
  async job({ queue, job, method, arguments: given }) {
    return plain(await (await queueNamed(queue).getJob(job))[method](...given));
  },
  async start_worker({ queue, behaviour, opts: { concurrency, ...opts } }) {
    const state = newWorker();
    const worker = open(queue, opts);
    await worker.isReady();
    worker.process("*", concurrency, processor(behaviour, state)).catch((error) => console.error(error.message));
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
    return null;
  },
};

await serve(verbs);
