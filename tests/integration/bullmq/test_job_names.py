"""Jobs by their name, of real workers: counted as the workers do, bounded, and kept over a restart."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from exporter.snapshot.job_names import JobName
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.driver import Driver
from lab.redis import RedisServer
from tests.support.bullmq import Watch, WatchOf, wait_for, watched
from tests.support.system import FULL, running

pytestmark = pytest.mark.timeout(180)


def word(number: int) -> str:
    """A name of its own: numbers would be folded."""
    return "job" + "".join(chr(97 + int(digit)) for digit in f"{number:04}")


def jobs(*names: str, **opts: Any) -> list[dict[str, Any]]:
    return [{"name": name, "data": {"reason": "disk full"}, "opts": opts} for name in names]


def names_of(monitor: Watch, queue: str, expected: dict[str, int]) -> dict[str, JobName]:
    names = wait_for(monitor, queue, expected, seconds=60).counters.names
    assert names is not None
    return {each.name: each for each in names.all}


@pytest.mark.parametrize("opts", [{}, {"removeOnComplete": True}], ids=["kept", "removed"])
def test_two_hundred_names_with_ids_in_them(
    library: Driver, server: RedisServer, watch: WatchOf, opts: dict[str, Any]
) -> None:
    """Of BullMQ 3 to 6, and in Python: each is in its place, what has an id is one, and the rest is one."""
    queue = f"names-{len(opts)}-{library.process.name.replace(' ', '-')}"
    monitor = watched(watch, server, queue)
    reports = [f"report-{number}" for number in range(50)]
    library.queue(queue, "addBulk", jobs("send", "send", *reports, **opts))
    library.queue(queue, "addBulk", jobs(*(word(number) for number in range(200)), **opts))
    library.start_worker(queue, concurrency=8)
    names = names_of(monitor, queue, dict.fromkeys(("added", "started", "completed"), 252))
    assert len(names) == 21
    assert names["send"][1:5] == (2, 2, 0, 0)
    assert names["report-#"][1:5] == (50, 50, 0, 0)
    assert names["other"][1:5] == (182, 182, 0, 0)
    assert all(each[1:5] == (1, 1, 0, 0) for name, each in names.items() if name.startswith("job"))
    assert sum(sum(each.wait.counts) for each in names.values()) == 252
    assert sum(sum(each.processing.counts) for each in names.values()) == 252


def test_attempts_and_failures_are_those_of_the_name(
    library: Driver, server: RedisServer, watch: WatchOf
) -> None:
    queue = f"attempts-{library.process.name.replace(' ', '-')}"
    monitor = watched(watch, server, queue)
    worker = library.start_worker(queue, behaviour={"fail_first": 2})
    library.queue(queue, "addBulk", jobs("charge", "charge", attempts=3) + jobs("mail"))
    expected = {"added": 3, "started": 7, "completed": 2, "retried": 4, "failed": 1}
    names = names_of(monitor, queue, expected)
    assert names["charge"][1:5] == (2, 2, 0, 4)
    assert names["mail"][1:5] == (1, 0, 1, 0)
    assert library.tally(worker)["started"] == 7


def test_delayed_jobs_keep_their_name(library: Driver, server: RedisServer, watch: WatchOf) -> None:
    queue = f"delayed-{library.process.name.replace(' ', '-')}"
    monitor = watched(watch, server, queue)
    library.start_worker(queue)
    library.queue(queue, "addBulk", jobs("later", "later", delay=300))
    names = names_of(monitor, queue, dict.fromkeys(("added", "started", "completed"), 2))
    assert names["later"][1:5] == (2, 2, 0, 0)
    assert names["later"].wait.total < 2, "from when its delay had passed"


@pytest.mark.parametrize("histograms", ["classic", "native"])
def test_series_go_on_after_a_restart(server: RedisServer, tmp_path: Path, histograms: str) -> None:
    """Whole program: the jobs that waited at the restart end under their name; counts equal the workers'."""
    keys = {"CRON_API_KEY": FULL}
    settings = {
        "redis": {"url": server.url},
        "bullmq": {
            "queues": ["pay"],
            "scan": False,
            "state_file": str(tmp_path / "state"),
            "histograms": histograms,
        },
    }

    def series(counter: str, name: str) -> str:
        return f'bullmq_job_name_{counter}{{name="{name}",prefix="bull",queue="pay"}}'

    server.cli("flushall")
    added = Counter({"charge": 30, "refund": 20, "invoice-#": 10})
    invoices = [f"invoice-{number}" for number in range(10)]
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.counts("pay")
        with running(tmp_path, "monitor", keys, settings) as program:
            followed = 'bullmq_job_failed_total{prefix="bull",queue="pay"}'
            wait_until(lambda: followed in program.samples(), what="it is followed", seconds=60)
            bullmq.queue("pay", "addBulk", jobs(*["charge"] * 30, *["refund"] * 20, *invoices))
            wait_until(
                lambda: program.samples().get(series("added_total", "charge")) == 30,
                what="they are counted",
                seconds=60,
            )
        with running(tmp_path, "monitor", keys, settings) as program:
            worker = bullmq.start_worker("pay", concurrency=4)
            wait_until(
                lambda: program.samples().get(series("completed_total", "charge")) == 30,
                what="they are counted",
                seconds=60,
            )
            wait_until(lambda: bullmq.tally(worker)["returned"] == 60, what="all ran", seconds=60)
            wait_until(
                lambda: (
                    {name: program.samples().get(series("completed_total", name)) for name in added} == added
                ),
                what="each is counted under its name",
                seconds=60,
            )
            samples = program.samples()
            assert {name: samples[series("added_total", name)] for name in added} == added
            assert samples[series("processing_seconds_count", "charge")] == 30
            assert series("added_total", "unknown") not in samples
            [queue] = program.ask("queue_metrics")["queues"]
            assert {each["name"]: each["completed"] for each in queue["jobNames"]} == added
            assert "invoice-#" in program.page()


SECRETS = ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "bob@example.com", "hunter2", "4111111111111111", "10.9.8.7")
CARRIERS = (
    "charge sk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "mail bob@example.com",
    "fetch https://bob:hunter2@pay.example.com/v1?key=hunter2",
    "card 4111111111111111",
    "ping 10.9.8.7",
)


@pytest.mark.fault
def test_five_thousand_names_and_no_secret_of_one_goes_anywhere(server: RedisServer, tmp_path: Path) -> None:
    """Metrics, page, JSON, API, log, state file."""
    state = tmp_path / "state"
    settings = {
        "redis": {"url": server.url},
        "bullmq": {"queues": ["pay"], "scan": False, "state_file": str(state)},
        "log": {"level": "debug"},
    }
    server.cli("flushall")
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.counts("pay")
        with running(tmp_path, "monitor", {"CRON_API_KEY": FULL}, settings) as program:
            added = 'bullmq_job_added_total{prefix="bull",queue="pay"}'
            wait_until(lambda: added in program.samples(), what="it is followed", seconds=60)
            bullmq.queue("pay", "addBulk", jobs(*CARRIERS))
            for thousand in range(0, 5000, 1000):  # BullMQ keeps 10,000 events
                bullmq.queue("pay", "addBulk", jobs(*map(word, range(thousand, thousand + 1000))))
                so_far = thousand + 1005
                wait_until(
                    lambda so_far=so_far: program.samples()[added] == so_far,  # type: ignore[misc]
                    what="they are read",
                    seconds=60,
                )
            bullmq.start_worker("pay", concurrency=20)
            completed = 'bullmq_job_completed_total{prefix="bull",queue="pay"}'
            wait_until(lambda: program.samples()[completed] == 5005, what="all are counted", seconds=90)
            samples = program.samples()
            for outcome in ("added", "completed"):
                head = f"bullmq_job_name_{outcome}_total{{"
                names = {name: value for name, value in samples.items() if name.startswith(head)}
                assert len(names) == 21
                assert sum(names.values()) == 5005
            paths = ("/metrics", "/status.json", "/api/monitoring?action=queue_metrics")
            texts = {path: program.client.get(path).text for path in paths} | {"page": program.page()}
        texts |= {"state file": state.read_text(), "log": program.log.read_text()}
    assert "charge <secret>" in texts["state file"]
    for where, text in texts.items():
        assert not [secret for secret in SECRETS if secret in text], where


def test_of_some_queues_none_are_counted(server: RedisServer, watch: WatchOf) -> None:
    settings = [{"match": "quiet-*", "job_names": 0}, {"match": "few-*", "job_names": 1}]
    with BullMQ(6, url=server.url) as bullmq:
        monitor = watch(server, queues=["quiet-names", "few-names"], settings=settings)
        monitor.read_all()
        monitor.follow()
        for queue in ("quiet-names", "few-names"):
            bullmq.queue(queue, "addBulk", jobs("one", "two"))
        assert wait_for(monitor, "quiet-names", {"added": 2}).counters.names is None
        assert names_of(monitor, "few-names", {"added": 2}).keys() == {"one", "other"}


def test_a_long_and_a_short_kind_of_work_in_one_queue_are_told_apart(
    server: RedisServer, watch: WatchOf
) -> None:
    with BullMQ(6, url=server.url) as bullmq:
        monitor = watched(watch, server, "documents")
        bullmq.start_worker("documents", concurrency=1, behaviour={"ms": 200})
        bullmq.queue("documents", "addBulk", jobs(*["download-doc"] * 3))
        names_of(monitor, "documents", dict.fromkeys(("added", "started", "completed"), 3))
    with BullMQ(6, url=server.url) as bullmq:
        bullmq.start_worker("documents", concurrency=1)
        bullmq.queue("documents", "addBulk", jobs(*["store-doc"] * 20))
        names = names_of(monitor, "documents", dict.fromkeys(("added", "started", "completed"), 23))
    assert names["download-doc"].processing.total >= 0.6 > names["store-doc"].processing.total
    assert sum(names["store-doc"].processing.counts) == 20


def test_parents_of_flows_and_jobs_of_schedulers_have_theirs(server: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=server.url) as bullmq:
        monitor = watched(watch, server, "flows")
        bullmq.start_worker("flows", concurrency=2)
        children = [{"name": f"page-{number}", "queueName": "flows", "data": {}} for number in range(3)]
        bullmq.add_flow({"name": "book", "queueName": "flows", "data": {}, "children": children})
        names = names_of(monitor, "flows", dict.fromkeys(("added", "started", "completed"), 4))
        assert {name: each[1:5] for name, each in names.items()} == {
            "book": (1, 1, 0, 0),
            "page-#": (3, 3, 0, 0),
        }
        bullmq.queue("flows", "upsertJobScheduler", "tick", {"every": 100}, {"name": "cleanup"})
        wait_until(
            lambda: (found := by_name(monitor, "flows").get("cleanup")) and found.completed >= 3,
            what="the scheduler's jobs have the template's name",
        )
        bullmq.queue("flows", "removeJobScheduler", "tick")


def test_a_job_without_a_name_is_counted_as_such(server: RedisServer, watch: WatchOf) -> None:
    with BullMQ(6, url=server.url) as bullmq:
        monitor = watched(watch, server, "nameless")
        bullmq.start_worker("nameless")
        bullmq.queue("nameless", "addBulk", jobs("", "other", "unknown"))
        names = names_of(monitor, "nameless", dict.fromkeys(("added", "started", "completed"), 3))
    assert names.keys() == {"(no name)", "(other)", "(unknown)"}


def by_name(monitor: Watch, queue: str) -> dict[str, JobName]:
    names = monitor.events(queue).counters.names
    return {each.name: each for each in names.all} if names else {}
