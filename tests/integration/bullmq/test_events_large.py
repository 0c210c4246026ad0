"""Events of many MB: its answers stay small in Redis' memory; what is not read is reported."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.bullmq.streams import stream
from exporter.bullmq.streams.follow import Follower
from exporter.bullmq.streams.state_file import CheckpointFile
from exporter.config.bullmq import BullMQSettings
from exporter.config.health import HealthSettings
from exporter.config.redis import RedisSettings
from exporter.config.settings import ExporterSettings
from exporter.health import assess
from exporter.redis.deployment import Deployment
from exporter.run import Exporter
from exporter.snapshot.queues import Events, QueueId
from exporter.snapshot.whole import Snapshot
from lab.bullmq import BullMQ
from lab.deadline import wait_until
from lab.driver import DriverError
from lab.link import SlowLink
from lab.redis import RedisServer, start_redis
from service.catalogs import ENGLISH
from service.outcome import Ok
from tests.support.bullmq import Watch, WatchOf, watched
from tests.support.large_streams import OutputBuffers, RawConnection, add_completed, add_waiting
from tests.support.scrapes import get, scrape

pytestmark = pytest.mark.timeout(180)  # up to 15 s alone: hundreds of MB pass through loopback

GONE: dict[str, Any] = {"removeOnComplete": True}
MB = 1_000_000
MOST = 8 * MB  # bytes that the exporter's answers may have in Redis at any time


@pytest.fixture
def own() -> Iterator[RedisServer]:
    with start_redis() as started:
        yield started


def used_memory(server: RedisServer) -> int:
    return int(server.facts("info", "memory")["used_memory"])


def served(program: Exporter, name: str) -> float | None:
    """The counter of the queue `big`."""
    return get(scrape(f"http://{program.address}"), name, prefix="bull", queue="big")


def read_or_lost(program: Exporter) -> int:
    """Events of the queue `big`."""
    assert program._follower is not None
    events = program._follower.events().get(QueueId("bull", "big"))
    return events.read + events.lost if events else 0


def entries_added(server: RedisServer, queue: str) -> int:
    connection = RawConnection(server)
    info = connection.ask("XINFO", "STREAM", f"bull:{queue}:events", "FULL", "COUNT", 1)
    connection.close()
    return int(info[info.index("entries-added") + 1])


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_CHECK_BUSY", 0.0)
    monkeypatch.setattr(stream, "CHECK_IDLE", 0.0)


Restarted = Callable[..., Follower]


@pytest.fixture
def restarted(tmp_path: Path) -> Iterator[Restarted]:
    """A follower that goes on from the state file, as after a restart; the first one begins it."""
    deployments: list[Deployment] = []

    def start(url: str, *queues: str, **redis: object) -> Follower:
        deployment = Deployment(RedisSettings.model_validate({"url": url, **redis}))
        deployments.append(deployment)
        checkpoint = CheckpointFile(str(tmp_path / "state"))
        follower = Follower(deployment, BullMQSettings(), checkpoint=checkpoint)
        follower.step([QueueId("bull", name) for name in queues])
        return follower

    yield start
    for deployment in deployments:
        deployment.close()


def accounted(follower: Follower, *queues: str, events: int, seconds: float = 60) -> dict[str, Events]:
    """Follow until so many events are read or lost; each queue's counters."""
    ids = [QueueId("bull", name) for name in queues]
    known: dict[QueueId, Events] = {}

    def all_there() -> bool:
        follower.step(ids)
        known.update(follower.events())
        return sum(known[queue].read + known[queue].lost for queue in ids if queue in known) >= events

    wait_until(all_there, what=f"{events} events are read or lost", seconds=seconds, every=0)
    return {queue.name: known[queue] for queue in ids}


@pytest.mark.usefixtures("redis_from_7")
def test_a_restart_among_events_of_4_mb_lets_redis_refuse_no_write(tmp_path: Path) -> None:
    """What the queue holds is two thirds of maxmemory: an answer with all of it would be refused writes."""
    with start_redis(config=["maxmemory 600mb", "maxmemory-policy noeviction"]) as server:
        settings = {
            "listen": "127.0.0.1:0",
            "redis": {"url": server.url},
            "bullmq": {"queues": ["big", "small"], "state_file": str(tmp_path / "state")},
        }
        with BullMQ(6, url=server.url) as producer, BullMQ(6, url=server.url) as bullmq:
            first = Exporter(ExporterSettings.model_validate(settings))
            first.start()
            wait_until(
                lambda: served(first, "bullmq_events_lost_total") is not None,
                what="the queues are followed",
                seconds=60,
            )
            assert first.stop()
            worker = bullmq.start_worker("big", behaviour={"bytes": 4 * MB})
            bullmq.add_bulk("big", 80, **GONE)
            wait_until(lambda: bullmq.tally(worker)["returned"] == 80, what="80 jobs", seconds=90)
            before = used_memory(server)
            assert before > 300 * MB
            refused: list[str] = []
            stop = threading.Event()

            def produce() -> None:
                while not stop.wait(0.02):
                    try:
                        producer.add("small", **GONE)
                    except DriverError as error:
                        refused.append(str(error))

            thread = threading.Thread(target=produce, daemon=True)
            second = Exporter(ExporterSettings.model_validate(settings))
            with OutputBuffers(server) as buffers:
                thread.start()
                second.start()
                events = entries_added(server, "big")
                wait_until(
                    lambda: read_or_lost(second) == events,
                    what="all events are read or lost",
                    seconds=60,
                )
            stop.set()
            thread.join(20)
            assert refused == []
            assert buffers.largest < MOST
            assert buffers.used - before < 16 * MB
            assert served(second, "bullmq_job_completed_total") == 80
            assert second.stop()


SHAPES: dict[str, tuple[int, list[int]]] = {
    "each of some MB": (0, [4 * MB, 2 * MB, 5 * MB, MB] * 10),
    "4 MB after a thousand small ones": (500, [4 * MB] * 20),
    "small and large in turn": (0, [60, 60, 60, 5 * MB] * 15),
    "10 kB, many": (0, [60, 10_000] * 2000),
    "of all sizes": (100, [10**power * digit for power in range(7) for digit in (1, 3, 6)] * 3),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_backlog_is_read_in_small_answers(own: RedisServer, restarted: Restarted, shape: str) -> None:
    restarted(own.url, "mail").stop()
    small, sizes = SHAPES[shape]
    events = add_waiting(own, "mail", small) + add_completed(own, "mail", sizes)
    with OutputBuffers(own) as buffers:
        follower = restarted(own.url, "mail")
        mail = accounted(follower, "mail", events=events)["mail"]
    assert buffers.largest < MOST
    assert (mail.read, mail.lost, mail.counters.completed) == (events, 0, len(sizes))


@pytest.mark.parametrize("shape", ["each of some MB", "small and large in turn"])
def test_without_memory_usage_entries_are_learned_one_by_one(
    own: RedisServer, restarted: Restarted, shape: str
) -> None:
    own.cli("acl", "setuser", "default", "-memory")
    restarted(own.url, "mail").stop()
    events = add_completed(own, "mail", SHAPES[shape][1])
    with OutputBuffers(own) as buffers:
        follower = restarted(own.url, "mail")
        mail = accounted(follower, "mail", events=events)["mail"]
    assert buffers.largest < MOST
    assert (mail.read, mail.lost) == (events, 0)
    assert any("MEMORY USAGE: NOPERM" in problem for problem in follower.problems())


def test_many_queues_with_large_events_at_once(own: RedisServer, restarted: Restarted) -> None:
    names = [f"queue-{number}" for number in range(12)]
    restarted(own.url, *names).stop()
    events = sum(add_completed(own, name, [60, 3 * MB, 60, 3 * MB]) for name in names)
    with OutputBuffers(own) as buffers:
        queues = accounted(restarted(own.url, *names), *names, events=events)
    assert buffers.largest < MOST
    assert {name: queue.counters.completed for name, queue in queues.items()} == dict.fromkeys(names, 4)


GIANTS: dict[str, list[int]] = {
    "two of them, and nothing else": [40 * MB] * 2,
    "alone": [40 * MB],
    "with others beside": [*[60] * 30, 40 * MB, *[60] * 30],
    "the last": [*[60] * 400, 40 * MB],
    "among large ones": [*[60, 3 * MB] * 4, 40 * MB, *[60, 3 * MB] * 4],
}


@pytest.mark.fault
@pytest.mark.usefixtures("redis_from_7")
@pytest.mark.parametrize("case", GIANTS)
def test_an_event_of_40_mb_is_never_read_and_is_told(
    own: RedisServer, restarted: Restarted, quick_checks: None, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    restarted(own.url, "mail").stop()
    events = add_completed(own, "mail", GIANTS[case])
    with OutputBuffers(own) as buffers:
        follower = restarted(own.url, "mail")
        mail = accounted(follower, "mail", events=events)["mail"]
    assert buffers.largest < MOST
    assert buffers.sent < 40 * MB
    assert (mail.read + mail.lost, mail.counters.completed) == (events, mail.read)
    assert mail.lost > 0
    assert "too large" in mail.passed_over
    assert any("too large" in problem for problem in follower.problems())
    assert "events too large to read" in caplog.messages
    later = add_completed(own, "mail", [60] * 5)
    mail = accounted(follower, "mail", events=events + later)["mail"]
    assert mail.counters.completed >= later


@pytest.mark.usefixtures("redis_from_7")
def test_an_event_of_40_mb_while_it_is_followed(own: RedisServer, watch: WatchOf, quick_checks: None) -> None:
    monitor = watched(watch, own, "mail")
    events = add_completed(own, "mail", [60] * 500)
    assert monitor.events("mail").read == events
    mail = monitor.events("mail")
    with OutputBuffers(own) as buffers:
        for sizes in ([60] * 40, [*[60] * 20, 40 * MB, *[60] * 20], [60] * 40, [2 * MB] * 3):
            events += add_completed(own, "mail", sizes)
            mail = monitor.events("mail")
            assert mail.read + mail.lost == events
    assert buffers.largest < MOST
    assert buffers.sent < 40 * MB
    assert mail.lost == 41
    assert _advice(monitor) == ""


def test_the_first_entry_of_a_stream_is_not_read_either(own: RedisServer, watch: WatchOf) -> None:
    """XINFO STREAM answers with it."""
    add_completed(own, "mail", [40 * MB, 60, 60])
    with OutputBuffers(own) as buffers:
        monitor = watched(watch, own, "mail")
        assert monitor.events("mail").counters.completed == 0
        add_completed(own, "mail", [60, 60])
        assert monitor.events("mail").counters.completed == 2
    assert buffers.sent < MOST


def test_ids_of_active_jobs_may_be_large(own: RedisServer, watch: WatchOf) -> None:
    connection = RawConnection(own)
    for number in range(30):
        connection.ask("LPUSH", "bull:mail:active", f"{number}" + "x" * MB)
    connection.close()
    add_completed(own, "mail", [60])
    with OutputBuffers(own) as buffers:
        monitor = watch(own, queues=["mail"])
        for _ in range(3):
            monitor.follower.step([QueueId("bull", "mail")])
    assert buffers.sent < MOST


@pytest.mark.parametrize(
    ("rate", "sizes", "all_read"),
    [
        (118 * MB, [60, 5 * MB] * 40, True),
        (5 * MB, [60, 5 * MB] * 4, True),
        (1.5 * MB, [60, 5 * MB] * 4, False),
    ],
    ids=["118 MB/s", "5 MB/s", "1.5 MB/s"],
)
def test_over_a_slow_link_nothing_is_asked_for_again_and_again(
    own: RedisServer,
    restarted: Restarted,
    quick_checks: None,
    rate: float,
    sizes: list[int],
    *,
    all_read: bool,
) -> None:
    with SlowLink(own.port, bytes_per_second=rate) as link:
        restarted(link.url, "mail").stop()
        events = add_completed(own, "mail", sizes)
        before = link.sent
        with OutputBuffers(own) as buffers:
            mail = accounted(restarted(link.url, "mail"), "mail", events=events)["mail"]
        assert buffers.largest < MOST
        assert (mail.lost == 0) is all_read
        assert link.sent - before < 1.5 * sum(sizes)
        assert bool(mail.passed_over) is not all_read


def _advice(monitor: Watch) -> str:
    """What the condition of lost events recommends; empty without it."""
    snapshot = Snapshot(time.time(), bullmq=Ok(monitor.collect()))
    issues = {issue.name: issue for issue in assess(snapshot, HealthSettings()).issues}
    return ENGLISH.render(issues["events_lost"].recommendation) if "events_lost" in issues else ""
