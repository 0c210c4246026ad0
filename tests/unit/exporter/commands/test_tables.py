from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from exporter.assessment import Assessment
from exporter.bullmq.streams.events import Jobs
from exporter.commands import tables
from exporter.config.health import HealthSettings
from exporter.health import assess
from exporter.snapshot.histogram import Histogram
from exporter.snapshot.queues import BullMQState, QueueId, Rates, Search, Window, durations_of
from exporter.snapshot.schedulers import QueueSchedulers, Scheduler
from exporter.snapshot.whole import Snapshot
from exporter.views import About, Task, status_view
from service.outcome import Failed, Ok, value_or_none
from tests.support.assessments import assessment, healthy_assessment, queue

ABOUT = About("1.2.3", monitoring=True, uptime=61.0, tasks=(Task("discovery", False, 1.0, 0),))
VIEW = status_view(assessment(), ABOUT)


def text(renderable: RenderableType, *, terminal: bool = False, width: int = 220) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=terminal, markup=False, highlight=False).print(
        renderable
    )
    return stream.getvalue()


def words(renderable: RenderableType, line_with: str) -> list[str]:
    return next(line for line in text(renderable).splitlines() if line_with in line).split()


@pytest.mark.parametrize(
    "table", [tables.status_table, tables.health_table, tables.redis_table, tables.queues_table]
)
def test_nothing_from_outside_steers_the_terminal(table: object) -> None:
    assert callable(table)
    assert "\x1b" not in text(table(VIEW))
    assert "\x1b[31m'" not in text(table(VIEW), terminal=True)


def test_status() -> None:
    output = text(tables.status_table(VIEW))
    assert output.startswith("80 warning  1 issue\n")
    assert "-20  title of cluster_node_unhealthy: 1 of 2 nodes" in output
    assert words(tables.status_table(VIEW), "cluster,")[:4] == ["redis", "ok", "2.0", "ms"]
    assert "cluster, 1 of 2 nodes up, 16,384 of 16,384 slots covered" in output
    assert "3 queues, 2,408 waiting, 4 active, 14 failed" in output
    assert "load 0.50 on 2 cores, 1.0 GiB of 4.0 GiB memory available" in output
    assert "late background threads: discovery" in output
    assert "oxherd 1.2.3, up 1 min 1 s" in output


def test_health() -> None:
    output = text(tables.health_table(VIEW))
    assert "1 of 2 nodes, threshold 0 nodes" in output
    assert "do something <script>" in output
    assert text(tables.health_table(status_view(healthy_assessment(), ABOUT))) == "100 healthy  no issues\n"


def test_redis() -> None:
    table = tables.redis_table(VIEW)
    assert words(table, "10.0.0.1:7001") == [
        *("10.0.0.1:7001", "master", "0", "up", "1.0", "MiB", "50", "%", "12", "3", "75", "%", "7.2.4")
    ]
    assert words(table, "10.0.0.2:7001  ") == ["10.0.0.2:7001", "replica", "0", "down"]
    assert "10.0.0.2:7001: no answer in time" in text(table)
    assert "title of cluster_node_unhealthy" in text(table)


def test_queues() -> None:
    table = tables.queues_table(VIEW)
    assert words(table, "mail")[:9] == ["mail", "1,204", "2", "3", "4", "5", "6", "7", "2"]
    assert "1 min 1 s" in text(table)
    assert "(paused)" in text(table)
    assert "not read: bull:lost: NOPERM no" in text(table)
    assert "SCAN refused" in text(table)
    assert "title of" not in text(table)  # the issue is not of the queues


def test_rates_of_the_last_minutes() -> None:
    before = Jobs((0.1, 1.0)).counters()
    now = before._replace(
        wait=Histogram((0.012, 1.5), (50, 45, 5), 5.0),
        processing={**before.processing, "completed": Histogram((0.2, 61.0), (50, 45, 5), 300.0)},
    )
    rates = Rates(300.0, 1234.0, 5.0, 0.004, 0, 0, window=Window(durations_of(before), now))
    base = assessment()
    bullmq = value_or_none(base.snapshot.bullmq)
    assert bullmq is not None
    followed = replace(bullmq, rates={queue().id: rates})
    view = status_view(replace(base, snapshot=replace(base.snapshot, bullmq=Ok(followed))), ABOUT)
    expected = ["1,234", "0.4", "%", "50", "ms", "12", "ms", "1.5", "s", "3.0", "s", "200", "ms", "61.0", "s"]
    assert words(tables.queues_table(view), "mail")[-15:] == expected
    assert "run p95" in text(tables.queues_table(view), width=140)
    assert "done/min" not in text(tables.queues_table(view), width=80)
    assert next(row for row in view["queues"]["queues"] if row["name"] == "mail")["rates"] == rates.figures()
    assert all(row["rates"] is None for row in VIEW["queues"]["queues"])


def test_prefixes_are_shown_where_there_are_several() -> None:
    view = status_view(assessment(queues=(queue("a"), queue("a", prefix="{b}"))), ABOUT)
    assert "bull:a" in text(tables.queues_table(view))
    assert "{b}:a" in text(tables.queues_table(view))
    assert "bull:mail" not in text(tables.queues_table(VIEW))


def test_a_queue_of_bull_is_marked() -> None:
    view = status_view(assessment(queues=(queue("jobs", library="bull"), queue("mail"))), ABOUT)
    assert "jobs (Bull)" in text(tables.queues_table(view))
    assert "mail (Bull)" not in text(tables.queues_table(view))


def test_in_indonesian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "id_ID.UTF-8")
    status = text(tables.status_table(VIEW))
    assert status.startswith("80 peringatan  1 masalah\n")
    assert words(tables.status_table(VIEW), "cluster,")[:4] == ["redis", "baik", "2.0", "ms"]
    assert "cluster, 1 dari 2 node aktif, 16,384 dari 16,384 slot tercakup" in status
    assert "thread latar belakang yang terlambat: discovery" in status
    assert "1 of 2 nodes, ambang 0 nodes" in text(tables.health_table(VIEW))
    assert words(tables.redis_table(VIEW), "10.0.0.2:7001  ") == ["10.0.0.2:7001", "replica", "0", "mati"]
    queues = text(tables.queues_table(VIEW))
    assert "3 antrean, 2,408 menunggu, 4 aktif, 14 gagal" in queues
    assert "(dijeda)" in queues
    assert "tidak terbaca: bull:lost: NOPERM no" in queues


def test_no_queues() -> None:
    view = status_view(assessment(queues=()), ABOUT)
    assert text(tables.queues_table(view)).startswith("1 queue\n\nnot read: bull:lost")


def test_what_was_searched_and_what_is_no_queue() -> None:
    passed_over = {QueueId("app", f"users\x1b{number}"): "its active is a set" for number in range(5)}
    search = Search(("bull", "app"), 1234, 5.0, passed_over, {QueueId("x", "y"): "NOPERM no"})
    snapshot = replace(
        assessment().snapshot, bullmq=Ok(BullMQState((queue(),), discovered=True, search=search))
    )
    view = status_view(Assessment(snapshot, assessment().health), ABOUT)
    output = text(tables.queues_table(view))
    assert "searched 1,234 keys for the prefixes bull, app" in output
    assert "1 candidate cannot be read: x:y (NOPERM no)" in output
    assert "5 candidates are not queues: app:users\\x1b0 (its active is a set), app:users\\x1b1" in output
    assert "users\\x1b3" not in output
    assert "searched 1,234 keys for the prefixes bull, app" in text(tables.status_table(view))
    anywhere = replace(snapshot, bullmq=Ok(BullMQState((), search=replace(search, prefixes=()))))
    output = text(tables.queues_table(status_view(Assessment(anywhere, assessment().health), ABOUT)))
    assert "searched 1,234 keys under any prefix" in output


def test_a_search_under_prefixes_that_no_queue_has_is_told() -> None:
    search = Search(("app*",), 10, 5.0, {}, {})
    state = BullMQState((), search=search)
    snapshot = replace(assessment().snapshot, bullmq=Ok(state))
    output = text(tables.queues_table(status_view(Assessment(snapshot, assessment().health), ABOUT)))
    assert "No queue has exactly the prefix app* (BULLMQ_PREFIXES)" in output
    running = replace(snapshot, bullmq=Ok(replace(state, search=replace(search, ended_at=None))))
    output = text(tables.queues_table(status_view(Assessment(running, assessment().health), ABOUT)))
    assert "No queue has exactly" not in output


def test_workers_that_are_not_known_have_a_reason() -> None:
    unknown = queue("mail")._replace(workers=None, workers_unknown="no connection has the queue's name")
    view = status_view(assessment(queues=(unknown,)), ABOUT)
    output = text(tables.queues_table(view))
    assert "mail: the number of workers is not known (no connection has the queue's name)" in output
    other = unknown._replace(id=QueueId("app", "mail"))
    output = text(tables.queues_table(status_view(assessment(queues=(unknown, other)), ABOUT)))
    assert "app:mail: the number of workers is not known" in output
    assert "bull:mail: the number of workers is not known" in output


def test_columns_that_no_node_fills_leave_room_for_others() -> None:
    def titles(width: int, **fields: object) -> set[str]:
        nodes = [node | fields for node in VIEW["redis"]["nodes"]]
        output = text(tables.redis_table({**VIEW, "redis": {**VIEW["redis"], "nodes": nodes}}), width=width)
        return {title for line in output.splitlines() if line.startswith("node ") for title in line.split()}

    alone = titles(80, slots=None, shard="", replication_lag_bytes=None)
    assert "ops/s" in alone
    assert not {"shard", "lag", "slots"} & alone
    assert {"shard", "lag", "slots"} <= titles(220, slots=5461, shard="0", replication_lag_bytes=0)


def test_an_unread_source_has_a_reason() -> None:
    lost = Snapshot(1.0, redis=Failed("unreachable", "refused\x1b"), bullmq=Failed("timeout", "late"))
    view = status_view(Assessment(lost, assessment().health), ABOUT)
    assert "redis was not read: refused\\x1b" in text(tables.redis_table(view))
    assert "bullmq was not read: late" in text(tables.queues_table(view))
    assert words(tables.status_table(view), "bullmq") == ["bullmq", "failed", "0.0", "ms", "late"]


def test_colours_only_on_a_terminal() -> None:
    assert "\x1b[" not in text(tables.status_table(VIEW))
    assert "\x1b[1;33m80 warning" in text(tables.status_table(VIEW), terminal=True)


def test_a_narrow_terminal_gets_fewer_columns_and_no_number_is_cut() -> None:
    for table, present, left_out in (
        (tables.redis_table(VIEW), "clients", "version"),
        (tables.queues_table(VIEW), "workers", "prioritized"),
    ):
        narrow = text(table, width=80)
        assert left_out in text(table)
        assert left_out not in narrow
        assert present in narrow
    row = next(line for line in text(tables.queues_table(VIEW), width=80).splitlines() if "mail" in line)
    assert row.split()[1:] == ["1,204", "2", "3", "7", "2", "1", "min", "1", "s", "100", "%"]
    assert "10.0.0.1:7001  master" in text(tables.redis_table(VIEW), width=80)


def test_a_name_of_4_kb() -> None:
    view = status_view(assessment(queues=(queue("n" * 4096),)), ABOUT)
    assert max(len(line) for line in text(tables.queues_table(view), width=240).splitlines()) <= 240
    assert "1,204" in text(tables.queues_table(view))


def late_schedulers(*late: Scheduler) -> RenderableType:
    missing = tuple(each for each in late if each.job == "gone")
    schedulers = QueueSchedulers(late, 7300.0, missing=missing)
    state = BullMQState((queue(),), schedulers={QueueId("bull", "mail"): schedulers})
    snapshot = Snapshot(7300.0, bullmq=Ok(state))
    return tables.queues_table(status_view(Assessment(snapshot, assess(snapshot, HealthSettings())), ABOUT))


HOURLY = Scheduler("hourly", "report", True, 3600.0, 100.0, 3600.0, None, None, None, None, 2, "pending")


def test_schedulers_that_are_late_are_named() -> None:
    output = text(
        late_schedulers(
            HOURLY,
            HOURLY._replace(id="soon", next_run=7240.0),
            HOURLY._replace(id="lost", job="gone", last_run=None, missing_since=7200.0),
            HOURLY._replace(id="finished", job="over"),
            HOURLY._replace(id="x\x1b[31m", next_run=7200.0, last_run=None),
        )
    )
    assert "mail: hourly: its run is 1 h 1 min late. It last ran 2 h ago." in output
    assert "mail: lost: its next job is missing, it will not run again." in output
    assert "mail: x\\x1b[31m: its run is 1 min 40 s late." in output
    assert "soon" not in output
    assert "finished" not in output


def test_many_late_schedulers_are_counted() -> None:
    output = text(late_schedulers(*(HOURLY._replace(id=str(each)) for each in range(8))))
    assert output.count("its run is") == 5
    assert "3 more schedulers are late." in output
