"""`scaling decide --jsonl`, driven by a program of another language."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from scaler.config.settings import PolicySettings
from scaler.decision.step import TargetMemory, record_scaling, step
from scaler.model import Control, Missing, Observation, QueueSample

ROOT = Path(__file__).parents[3]
CONFIG = {"policy": "wait_target", "min_workers": 1, "max_workers": 30, "worker_concurrency": 4}

DRIVER = """
const { spawn } = require("node:child_process");
const { createInterface } = require("node:readline");
const [python, steps] = [process.argv[2], Number(process.argv[3])];
const child = spawn(python, ["-m", "scaler", "decide", "--jsonl"], { stdio: ["pipe", "pipe", "inherit"] });
const replies = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
const ask = async (line) => {
  child.stdin.write(JSON.stringify(line) + "\\n");
  return JSON.parse((await replies.next()).value);
};
(async () => {
  await ask({ type: "init", config: JSON.parse(process.argv[4]) });
  let replicas = 2, completed = 0;
  for (let n = 0; n < steps; n++) {
    const message = {
      type: "observe", time: n * 5, replicas, ready_replicas: replicas, metrics_ok: n % 50 !== 49,
      scrape_time: n * 5 - 1, waiting: n % 60 < 20 ? (n * 13) % 200 : 0, active: Math.min(4 * replicas, 11),
      completed_total: (completed += (n * 7) % 40), failed_total: 0, oldest_waiting_s: null,
    };
    const reply = await ask(message);
    console.log(JSON.stringify({ message, reply }));
    replicas = reply.replicas;
  }
  child.stdin.end(JSON.stringify({ type: "end" }) + "\\n");
  child.on("exit", (code) => process.exit(code));
})();
"""


def test_node_gets_the_decisions_that_are_made_in_process(tmp_path: Path) -> None:
    driver = tmp_path / "driver.cjs"
    driver.write_text(DRIVER)
    ran = subprocess.run(
        ["node", str(driver), sys.executable, "400", json.dumps(CONFIG)],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=ROOT,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(lines) == 400
    settings = PolicySettings.model_validate(CONFIG)
    memory: TargetMemory | None = None
    for line in lines:
        message = line["message"]
        sample = QueueSample(
            message["scrape_time"],
            message["waiting"],
            message["active"],
            completed=message["completed_total"],
            failed=0.0,
        )
        sample_or_missing = sample if message["metrics_ok"] else Missing("unreachable", "metrics_ok is false")
        observation = Observation(
            message["time"], message["replicas"], message["ready_replicas"], sample_or_missing
        )
        decision, memory = step(settings, 5.0, observation, Control(), memory)
        if decision.workers != observation.workers:
            memory = record_scaling(memory, observation.time)
        assert line["reply"] == {
            "replicas": decision.workers,
            "reason": f"{decision.reason}: {decision.sentence}",
        }
    assert len({line["reply"]["replicas"] for line in lines}) > 5
