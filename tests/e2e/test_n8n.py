"""n8n's queue, by real Bull with n8n's name, prefix and options, scaled by the example's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from exporter.snapshot.queues import QueueId
from lab.bull import Bull
from lab.deadline import wait_until
from lab.prometheus import start_prometheus
from lab.redis import start_redis
from scaler.configuration import Reloader, read_scaler_settings
from scaler.run import Scaler
from scaler.step_result import TargetStep
from service.clock import Deadline
from service.outcome import Ok, value_or_none

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "scaler.n8n.example.yml"
WORKER = ROOT / "lab" / "node" / "bull-worker.mjs"
EXECUTION: dict[str, Any] = {"priority": 100, "removeOnComplete": True, "removeOnFail": True}


def example(redis: str, prometheus: str, home: Path) -> Path:
    """The shipped example with addresses of the test, and a worker of ours in the place of n8n's."""
    settings = yaml.safe_load(EXAMPLE.read_text())
    host, _, port = redis.rpartition(":")
    (target,) = settings["targets"]
    assert target["processes"]["command"] == ["n8n", "worker", "--concurrency=10"]
    target |= {"worker_concurrency": 2, "max_workers": 4, "start_cost_seconds": 2}
    processes = target["processes"]
    processes["command"] = ["node", str(WORKER), "worker", "--concurrency=2"]
    processes["environment"] |= {
        "QUEUE_BULL_REDIS_HOST": host,
        "QUEUE_BULL_REDIS_PORT": port,
        "JOB_MS": "300",
    }
    settings |= {"listen": "127.0.0.1:0", "interval_seconds": 1, "state_file": str(home / "state.json")}
    settings["prometheus"]["urls"] = [prometheus]
    config = home / "scaler.yml"
    config.write_text(yaml.safe_dump(settings))
    return config


def test_executions_are_counted_and_their_workers_scaled(tmp_path: Path) -> None:
    with start_redis() as redis, Bull(4, url=redis.url) as bull:
        bull.add("jobs", "job", {"executionId": "0"}, **EXECUTION)
        exporter = Exporter(
            ExporterSettings.model_validate({"listen": "127.0.0.1:0", "redis": {"url": redis.url}})
        )
        exporter.start()
        try:
            scrape = (
                "scrape_configs:\n  - job_name: oxherd\n    scrape_interval: 1s\n    scrape_timeout: 1s\n"
                f"    static_configs: [{{targets: ['{exporter.address}']}}]\n"
            )
            with start_prometheus(scrape) as prometheus:
                prometheus.wait_for('bullmq_job_started_total{prefix="bull",queue="jobs"}')
                prometheus.wait_for('bullmq_queue_info{queue="jobs",library="bull"}')
                config = example(redis.address, prometheus.url, tmp_path)
                scaler = Scaler(
                    Reloader(read_scaler_settings({}, config=str(config)), {}, config=str(config))
                )
                scaler.start()
                try:
                    follow_a_burst(bull, scaler)
                finally:
                    assert scaler.stop()
                wait_until(lambda: ended(exporter) == 201, what="all executions are counted", seconds=30)
        finally:
            assert exporter.stop()
        ran = redis.cli("lrange", "ran:jobs", 0, -1).split()
        assert len(ran) == len(set(ran)) == 201
        counts = bull.counts("jobs")
        assert (counts["completed"], counts["failed"], counts["waiting"]) == (0, 0, 0)


def follow_a_burst(bull: Bull, scaler: Scaler) -> None:
    wait_until(lambda: requested(scaler) == 1, what="the first worker", seconds=60)
    bull.add_bulk("jobs", 200, name="job", **EXECUTION)
    wait_until(lambda: (requested(scaler) or 0) >= 3, what="more workers", seconds=60)
    bull.wait_for_counts("jobs", {"waiting": 0, "active": 0}, seconds=90)
    wait_until(lambda: requested(scaler) == 1, what="back to one worker", seconds=90, every=0.2)


def requested(scaler: Scaler) -> int | None:
    """The workers that the last step found."""
    last = scaler.controller.last
    step: TargetStep | None = last.steps[0] if last is not None else None
    return step.workers.value.requested if step is not None and isinstance(step.workers, Ok) else None


def ended(exporter: Exporter) -> int | None:
    """The executions that the exporter counted as completed, although none is kept."""
    assessment = exporter.assess(Deadline.after(5))
    state = value_or_none(assessment.snapshot.bullmq) if assessment else None
    events = (state.events or {}).get(QueueId("bull", "jobs")) if state else None
    return events.counters.completed if events else None
