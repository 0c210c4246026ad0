"""Several exporters of one cluster that divide its queues: together they are one exporter of all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from exporter.bullmq.sharding import shard_number
from exporter.config.settings import ExporterSettings
from exporter.run import Exporter
from exporter.snapshot.queues import QueueId
from lab.bullmq import BullMQ
from lab.cluster import LocalCluster, start_cluster
from lab.deadline import wait_until
from tests.support.scrapes import Values, scrape

pytestmark = pytest.mark.timeout(180)

MONITOR = Path(sys.executable).with_name("monitor")
SHARDS = 3
QUEUES = [f"{{q{number}}}" for number in range(60)]
MOVING = ("_seconds", "_timestamp", "_created")
"""Parts of the names of series that are another in each scrape: ages and times."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with start_cluster() as started, BullMQ(6, cluster=started.addresses) as bullmq:
        for number, queue in enumerate(QUEUES):
            bullmq.add_bulk(queue, number % 7 + 1)
        yield started


def sharded(cluster: LocalCluster, shard: str, **bullmq: object) -> ExporterSettings:
    return ExporterSettings.model_validate(
        {"redis": {"cluster": cluster.addresses}, "bullmq": bullmq, "shard": shard, "listen": "127.0.0.1:0"}
    )


@pytest.fixture(scope="module")
def urls(cluster: LocalCluster) -> Iterator[list[str]]:
    """An exporter of all, then each shard, once they know all queues and streams."""
    with ExitStack() as undo:
        urls = []
        for shard in ("1/1", *(f"{number}/{SHARDS}" for number in range(1, SHARDS + 1))):
            exporter = Exporter(sharded(cluster, shard))
            exporter.start()
            undo.callback(exporter.stop)
            urls.append(f"http://{exporter.address}")
        wait_until(
            lambda: _followed(urls[:1]) == len(QUEUES) == _followed(urls[1:]),
            what="all exporters follow their queues",
            seconds=60,
        )
        yield urls


@pytest.fixture(scope="module")
def scrapes(urls: list[str]) -> list[Values]:
    return [scrape(url) for url in urls]


def _followed(urls: list[str]) -> int:
    return sum(name == "bullmq_job_added_total" for url in urls for name, _ in scrape(url))


def of_queues(values: Values) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {key: value for key, value in values.items() if "queue" in dict(key[1])}


def test_the_series_of_all_shards_are_those_of_one_exporter(scrapes: list[Values]) -> None:
    whole, *parts = map(of_queues, scrapes)
    together = Counter(key for part in parts for key in part)
    assert together.keys() == whole.keys()
    assert set(together.values()) == {1}, "a series of two shards"
    merged = {key: value for part in parts for key, value in part.items()}
    still = {key for key in whole if not any(part in key[0] for part in MOVING)}
    assert len(still) > 20 * len(QUEUES)
    assert {key: merged[key] for key in still} == {key: whole[key] for key in still}


def test_each_queue_is_of_the_shard_that_its_name_says(scrapes: list[Values]) -> None:
    for number, values in enumerate(scrapes[1:], start=1):
        names = {dict(labels)["queue"] for _, labels in of_queues(values)}
        assert names == {name for name in QUEUES if shard_number(QueueId("bull", name), SHARDS) == number}
        assert 10 <= len(names) <= 30


def names_of(values: Values, *starts: str) -> set[str]:
    return {name for name, _ in values if name.startswith(starts)}


def test_redis_and_the_host_are_of_the_first_alone(scrapes: list[Values]) -> None:
    whole, first, *others = scrapes
    once = ("redis_", "host_", "oxherd_redis_deployment_info")
    assert names_of(first, *once) == names_of(whole, *once) != set()
    for values in others:
        assert names_of(values, *once) == set()
        sources = {dict(labels)["source"] for name, labels in values if name == "oxherd_collect_success"}
        assert sources == {"bullmq", "process"}


def test_each_says_which_shard_it_is(scrapes: list[Values]) -> None:
    infos = [dict(labels) for values in scrapes for name, labels in values if name == "oxherd_shard_info"]
    assert infos == [
        {"shard": "1", "shards": "1"},
        *({"shard": str(number), "shards": str(SHARDS)} for number in range(1, SHARDS + 1)),
    ]
    assert [values["oxherd_shards", ()] for values in scrapes] == [1, SHARDS, SHARDS, SHARDS]


def test_a_shard_is_healthy_without_what_others_have(scrapes: list[Values]) -> None:
    there = [
        {
            dict(labels)["issue"]
            for (name, labels), value in values.items()
            if name == "oxherd_issue" and value
        }
        for values in scrapes
    ]
    assert there[0] == set.union(*there[1:])


def monitor(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [MONITOR, *arguments],
        capture_output=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "COLUMNS": "200"},
    )
    return done.returncode, done.stdout.decode() + done.stderr.decode()


def jobs_of(text: str) -> dict[str, int]:
    return {queue["name"]: queue["waiting"] for queue in json.loads(text)["queues"]}


def test_a_command_shows_the_queues_of_one_shard_and_says_so(urls: list[str]) -> None:
    code, text = monitor("queues", "--url", urls[2])
    assert (code, text.splitlines()[0]) == (0, "shard 2 of 3: the queues of this exporter only")
    assert sum(name in text for name in QUEUES) < len(QUEUES)
    code, text = monitor("redis", "--url", urls[2])
    assert (code, text) == (2, "redis was not read: shard 1 of 3 reads it\n")


def test_a_command_shows_the_queues_of_all_shards(urls: list[str]) -> None:
    _, whole = monitor("queues", "--url", urls[0], "--json")
    code, text = monitor("queues", "--url", ",".join(urls[1:]), "--json")
    assert code == 0
    assert jobs_of(text) == jobs_of(whole)
    assert len(jobs_of(text)) == len(QUEUES)
    code, text = monitor("status", "--url", ",".join(urls[1:]))
    assert "all 3 shards of the queues" in text
    assert "60 queues" in text
    code, text = monitor("queues", "--url", f"{urls[1]},http://127.0.0.1:1,{urls[3]}")
    assert code == 2
    assert text.splitlines()[0] == "2 of 3 shards of the queues: no exporter at http://127.0.0.1:1"


def test_the_page_and_the_api_say_which_part_they_have(urls: list[str]) -> None:
    page = httpx.get(urls[3], headers={"accept-language": "en"}).text
    assert "shard 3 of 3: the queues of this exporter only" in page
    assert "shard" not in re.sub(r"<style.*?</style>", "", httpx.get(urls[0]).text.partition("<table")[0])
    assert httpx.get(f"{urls[1]}/status.json").json()["shard"] == {"number": 1, "shards": 3, "urls": []}


def test_a_scaler_may_ask_any_shard_who_is_busy(urls: list[str]) -> None:
    """A target's queues are of several shards: names are enough, and a pattern is refused, not answered in
    part."""
    names = [("queue", name) for name in QUEUES[:5]]
    for url in urls[1:]:
        answer = httpx.get(f"{url}/busy.json", params=[("prefix", "bull"), *names])
        assert (answer.status_code, answer.json()["queues"]) == (200, QUEUES[:5])
        answer = httpx.get(f"{url}/busy.json", params={"prefix": "bull", "queue": "{q*"})
        assert answer.status_code == 503
        assert "may match queues of other shards" in answer.json()["error"]
