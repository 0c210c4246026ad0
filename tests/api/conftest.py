"""The whole system as processes, with keys: Redis, BullMQ's jobs, the exporter, the scaler behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lab.bullmq import BullMQ
from lab.redis import start_redis
from tests.support.fake_prometheus import fake_prometheus
from tests.support.system import FULL, PASSWORD, READ, TARGETS, System, running


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Five kinds of jobs in `notifications`, one paused queue."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "key").write_text(FULL + "\n")
    keys = {"CRON_API_KEY_FILE": str(folder / "key"), "CRON_API_READ_KEY": READ}
    with ExitStack() as undo:
        redis = undo.enter_context(start_redis(password=PASSWORD))
        library = undo.enter_context(BullMQ(6, url=redis.url))
        library.add_bulk("notifications", 7)
        library.add("notifications", delay=3_600_000)
        worker = library.start_worker("notifications", behaviour={"hold": True}, concurrency=2)
        library.wait_for_counts("notifications", {"active": 2, "waiting": 5, "delayed": 1})
        library.add_bulk("reports", 3)
        library.pause("reports")
        del worker
        prometheus = undo.enter_context(fake_prometheus())
        prometheus.names = ["notifications"]
        scaler = undo.enter_context(
            running(
                folder,
                "scaling",
                keys,
                {
                    "interval_seconds": 1,
                    "prometheus": {"urls": [prometheus.url]},
                    "state_file": str(folder / "state.json"),
                    "targets": TARGETS,
                },
            )
        )
        environ = keys | {"REDIS_URL": redis.url, "SCALER_URL": scaler.url}
        exporter = undo.enter_context(
            running(folder, "monitor", environ, {"bullmq": {"discovery_interval_seconds": 5}})
        )
        yield System(redis, library, prometheus, exporter, scaler, folder)
