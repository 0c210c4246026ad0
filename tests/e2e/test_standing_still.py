"""A queue that stands still, as page, commands, API, JSON, log and series show it, and its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.redis import start_redis
from tests.support.system import FULL, Program, running

pytestmark = pytest.mark.timeout(120)  # 20 s alone: commands as processes, and workers are counted every 10 s

TITLE = "Jobs wait and nothing takes them"
SERIES = 'oxherd_issue{issue="queue_standing_still",severity="critical",source="bullmq"}'
AFFECTED = (
    'oxherd_issue_affected{issue="queue_standing_still",prefix="bull",queue="mail",severity="critical",'
    'source="bullmq",subject="mail"}'
)
SETTINGS = {
    "redis": {},
    "host": {"enabled": False},
    "bullmq": {"discovery_interval_seconds": 1},
    "health": {
        "thresholds": {"no_worker_seconds": 3},
        "queues": [{"match": "nightly", "excluded": True}],
    },
}


def monitor(program: Program, command: str) -> tuple[int, str]:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("monitor")), command, "--url", program.url],
        env=os.environ | {"CRON_API_KEY": FULL, "LC_ALL": "C"},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, " ".join(done.stdout.split())


def test_all_say_the_same(tmp_path: Path) -> None:
    with start_redis() as redis, BullMQ(6, url=redis.url) as library:
        library.add_bulk("mail", 3)
        library.add_bulk("nightly", 5)
        environ = {"REDIS_URL": redis.url, "CRON_API_KEY": FULL}
        with running(tmp_path, "monitor", environ, SETTINGS) as exporter:
            exporter.client.post("/sign-in", data={"key": FULL})
            assert not exporter.samples().get(SERIES)  # absent: it may have stood before
            wait_until(lambda: exporter.samples().get(SERIES) == 1, what="the condition", seconds=60)
            samples = exporter.samples()
            assert samples[AFFECTED] >= 3
            assert samples["oxherd_health_score"] == 65
            assert [name for name in samples if "oxherd_issue_affected{" in name] == [AFFECTED]
            page = exporter.client.get("/").text
            assert TITLE in page
            marked = {
                name: 'class="number critical">0<' in row
                for row in page.split("<tr>")
                for name in ("mail", "nightly")
                if f'class="name">{name}' in row
            }
            assert marked == {"mail": True, "nightly": False}, "the colour of a queue without workers"
            issues = exporter.ask("health_check")["issues"]
            assert [issue["name"] for issue in issues] == ["queue_standing_still"]
            assert [subject["subject"] for subject in issues[0]["affected"]] == ["mail"]
            for command in ("health", "queues", "status"):
                code, text = monitor(exporter, command)
                assert code == 2, command
                assert f"{TITLE}" in text, command
                assert "mail: 3 jobs, no worker, none started for" in text, command
            assert 'event="issue appeared"' in exporter.log.read_text()
            assert "issue=queue_standing_still" in exporter.log.read_text()
            library.start_worker("mail")
            wait_until(lambda: exporter.samples()[SERIES] == 0, what="its end", seconds=60)
            assert exporter.samples()["oxherd_health_score"] == 100
            assert TITLE not in exporter.client.get("/").text
            assert exporter.ask("health_check")["issues"] == []
            assert monitor(exporter, "health")[0] == monitor(exporter, "queues")[0] == 0
            assert 'event="issue cleared"' in exporter.log.read_text()
