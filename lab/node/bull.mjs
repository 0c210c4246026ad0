// Drives one version of Bull, BullMQ's predecessor, for lab/bull.py: the same verbs as driver.mjs.
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import Redis, { Cluster } from "ioredis";

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

function processor({ ms = 0, fail = false, fail_first = 0, hold = false, returns = 0 }, held, tally, durations) {
  const failures = new Map();
  const timed = async (job) => {
    tally.started++;
    if (hold) await new Promise((release) => held.add(release));
    if (ms) await sleep(ms);
    const failed = failures.get(job.id) ?? 0;
    if (fail || failed < fail_first) {
      failures.set(job.id, failed + 1);
      tally.threw++;
      throw new Error("asked to fail");
    }
    tally.returned++;
    return returns ? "r".repeat(returns) : null;
  };
  return async (job) => {
    const began = performance.now();
    durations.wait.push(job.processedOn - job.timestamp);
    try {
      return await timed(job);
    } finally {
      durations.run.push(performance.now() - began);
    }
  };
}

const plain = (answer) => (answer?.queue?.keyPrefix ? { id: String(answer.id) } : (answer ?? null)); // a job cannot be serialized

function release({ held }) {
  const released = held.size;
  for (const go of held) go();
  held.clear();
  return released;
}

const verbs = {
  async queue({ queue, method, arguments: given }) {
    const answer = await queueNamed(queue)[method](...given);
    return Array.isArray(answer) ? answer.map(plain) : plain(answer);
  },
  async job({ queue, job, method, arguments: given }) {
    return plain(await (await queueNamed(queue).getJob(job))[method](...given));
  },
  async start_worker({ queue, behaviour, opts: { concurrency, ...opts } }) {
    const held = new Set();
    const tally = { started: 0, returned: 0, threw: 0 };
    const durations = { wait: [], run: [] };
    const worker = open(queue, opts);
    await worker.isReady();
    worker.process("*", concurrency, processor(behaviour, held, tally, durations)).catch((error) => console.error(error.message));
    const id = workers.size + 1;
    workers.set(id, { worker, held, tally, durations });
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

for await (const line of createInterface({ input: process.stdin })) {
  const { verb, ...given } = JSON.parse(line);
  let answer;
  try {
    answer = { value: await verbs[verb](given) };
  } catch (error) {
    answer = { error: error.message };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
process.exit(0);
