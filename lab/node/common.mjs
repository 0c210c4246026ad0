// What the drivers of Bull and BullMQ share: the handler of jobs, and a JSON object per line in and out.
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

// `behaviour`: ms to run, fail (always, or the first times; the reason is of the data), hold until released, bytes to return.
export function processor({ ms = 0, fail = false, fail_first = 0, hold = false, bytes = 0 }, { held, tally, durations }) {
  const failures = new Map();
  const timed = async (job) => {
    tally.started++;
    if (hold) await new Promise((release) => held.add(release));
    if (ms) await sleep(ms);
    const failed = failures.get(job.id) ?? 0;
    if (fail || failed < fail_first) {
      failures.set(job.id, failed + 1);
      tally.threw++;
      throw new Error(job.data.reason ?? "asked to fail");
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

export function newWorker() {
  return { held: new Set(), tally: { started: 0, returned: 0, threw: 0 }, durations: { wait: [], run: [] } };
}

export function release({ held }) {
  const released = held.size;
  for (const go of held) go();
  held.clear();
  return released;
}

// Answers each line until the input ends.
export async function serve(verbs) {
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
}
