"""Several exporters of one cluster that divide its queues: together they are one exporter of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

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
def scrapes(cluster: LocalCluster) -> Iterator[list[Values]]:
    """One scrape of an exporter of all, then one of each shard, once they know all queues and streams."""
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
        yield [scrape(url) for url in urls]


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
