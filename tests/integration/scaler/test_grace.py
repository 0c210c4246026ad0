"""The grace period against the run times of real BullMQ jobs, by a real exporter and a real Prometheus."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.prometheus import start_prometheus
from lab.redis import start_redis
from scaler.configuration import Reloader, read_scaler_settings
from scaler.run import Scaler
from scaler.step_result import TargetStep

pytestmark = pytest.mark.timeout(180)

WORKER = Path(__file__).parents[3] / "lab" / "node" / "worker.mjs"
SETTINGS = """
listen: 127.0.0.1:0
interval_seconds: 1
prometheus: {{urls: ["{prometheus}"]}}
targets:
  - name: mailer
    queues: [mail]
    processes: {{command: [sleep, "1000"], grace_seconds: 1, ready_seconds: 0.1}}
"""


def test_a_grace_shorter_than_3_jobs_in_100_is_named_though_the_mean_is_shorter(tmp_path: Path) -> None:
    with start_redis() as redis, BullMQ(6, url=redis.url) as bullmq:
        exporter = Exporter(
            ExporterSettings.model_validate(
                {"listen": "127.0.0.1:0", "redis": {"url": redis.url}, "bullmq": {"queues": ["mail"]}}
            )
        )
        exporter.start()
        environ = {
            "WORKER_QUEUE": "mail",
            "WORKER_REDIS": redis.address,
            "WORKER_CONCURRENCY": "10",
            "WORKER_JOB_MS": "50",
        }
        worker = subprocess.Popen(["node", str(WORKER)], env=os.environ | environ)
        scrape = (
            "scrape_configs:\n  - job_name: oxherd\n    scrape_interval: 1s\n    scrape_timeout: 1s\n"
            f"    static_configs: [{{targets: ['{exporter.address}']}}]\n"
        )
        try:
            with start_prometheus(scrape) as prometheus:
                bullmq.add(
                    "mail"
                )  # the histogram is there from its first job, and a rate needs the one after
                prometheus.wait_for("bullmq_job_processing_seconds_count > 0", seconds=60)
                for _ in range(4):
                    bullmq.add_bulk("mail", 97)
                    for _ in range(3):
                        bullmq.add("mail", data={"factor": 60})
                prometheus.wait_for("sum(bullmq_job_processing_seconds_count) == 401", seconds=90)
                config = tmp_path / "scaler.yml"
                config.write_text(SETTINGS.format(prometheus=prometheus.url))
                step = warned(config)
        finally:
            worker.terminate()
            worker.wait(30)
            assert exporter.stop()
    assert step.run_p99 is not None
    assert 2.5 <= step.run_p99.seconds <= 10
    assert step.run_seconds is not None
    assert step.run_seconds < 1
    assert step.grace_warning.startswith("1 in 100 jobs runs over ")


def warned(config: Path) -> TargetStep:
    """The first step of a scaler that has the condition."""
    scaler = Scaler(Reloader(read_scaler_settings({}, config=str(config)), {}, config=str(config)))
    scaler.start()

    def reached() -> TargetStep | None:
        last = scaler.controller.last
        return last.steps[0] if last and "GraceTooShort" in last.steps[0].conditions else None

    try:
        step = wait_until(reached, what="the grace period is too short", seconds=60)
        assert step is not None
        return step
    finally:
        assert scaler.stop()
