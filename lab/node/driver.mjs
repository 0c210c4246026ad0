// Drives one version of BullMQ for lab/driver.py: a JSON object per line on stdin, a response on stdout.
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import Redis, { Cluster } from "ioredis";

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
async function scheduled(name, { stalledInterval = 30_000 }) {
  if (version !== 1) return;
  const scheduler = new QueueScheduler(name, { connection, prefix, stalledInterval });
  scheduler.on("error", (error) => console.error(error.message));
  await scheduler.waitUntilReady();
}

function processor({ ms = 0, fail = false, fail_first = 0, hold = false, bytes = 0 }, held, tally, durations) {
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
    return bytes ? "x".repeat(bytes) : null;
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

const plain = (answer) => (answer?.queueQualifiedName ? { id: answer.id } : (answer ?? null)); // a job cannot be serialized

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
  async flow({ flow }) {
    const producer = new FlowProducer({ connection, prefix });
    await producer.add(flow);
    return null;
  },
  async start_worker({ queue, behaviour, opts }) {
    const held = new Set();
    const tally = { started: 0, returned: 0, threw: 0 };
    const durations = { wait: [], run: [] };
    const worker = new Worker(queue, processor(behaviour, held, tally, durations), { ...opts, connection, prefix });
    worker.on("error", (error) => console.error(error.message));
    await worker.waitUntilReady();
    await scheduled(queue, opts);
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
    connection.disconnect();
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
