"""Whatever is kept from one scrape to the next, each has the lines that drawing everything again has."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import cycle
from operator import itemgetter
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.assessment import Assessment
from exporter.bullmq.collect import changed_events
from exporter.bullmq.streams.events import Jobs
from exporter.health import Health
from exporter.metrics import bullmq, events
from exporter.metrics.drawing import blocks
from exporter.metrics.family import AnyFamily, Family, HistogramFamily, Table, TableColumn
from exporter.metrics.render import Renderer
from exporter.snapshot.queues import (
    BullMQState,
    Changes,
    Events,
    JobCounts,
    OwnCounts,
    QueueId,
    QueueState,
    Rates,
)
from exporter.snapshot.whole import Snapshot
from service.outcome import Ok
from service.web.negotiate import MetricsFormat
from tests.support.metric_families import decoded

FAMILIES: Final[tuple[AnyFamily, ...]] = (*bullmq.FAMILIES, *events.FAMILIES)
FORMATS: Final[tuple[MetricsFormat, ...]] = ("text", "protobuf", "openmetrics", "protobuf", "protobuf")
NOBODY: Final = Health(100.0, "healthy", ())
NAMES: Final = ("a", "b", 'c"\\\n', "d%s", "{e}", "é")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SIZE", 2)


APART: Final = Renderer(
    [
        HistogramFamily(family.name, family.help, family.labels, family.read)
        if isinstance(family, HistogramFamily)
        else Family(family.name, family.kind, family.help, family.labels, family.read)
        for family in FAMILIES
    ]
)
"""The same families, each by its own reader: all lines are drawn again in each scrape."""


def by_family(body: bytes, form: MetricsFormat) -> list[tuple[str, list[Any]]]:
    """The HELP and TYPE of each family in their order, with its samples, whose order is free."""
    if form == "protobuf":
        return [
            (f"{family.name} {family.type}", sorted(each.SerializeToString() for each in family.metric))
            for family in decoded(body)
        ]
    found: list[tuple[str, list[str]]] = []
    for line in body.decode().split("\n")[:-1]:
        if line.startswith("# HELP "):
            found.append((line, []))
        else:
            found[-1][1].append(line)
    return [(head, sorted(lines)) for head, lines in found]


COUNTS: Final = (None, 0, 1, 7, 999_999, 1_000_000, 123_456_789)
SECONDS: Final = (None, 0.0, 0.001, 1.5, 3e6, 1e-7)
EVENTS: Final = (b"added", b"waiting", b"active", b"completed", b"failed", b"delayed")


def some_queue(random: Random, name: str) -> QueueState:
    def count() -> int | None:
        return random.choice(COUNTS)

    def seconds() -> float | None:
        return random.choice(SECONDS)

    return QueueState(
        QueueId("bull", name),
        JobCounts(count(), count(), count(), count(), count(), count(), count()),
        random.choice((None, True, False)),
        schedulers=count(),
        delayed_overdue=count(),
        delayed_due=count(),
        failed_last_hour=count(),
        workers=count(),
        concurrency_limit=count(),
        rate_limit_ttl=seconds(),
        oldest_waiting=seconds(),
        longest_active=seconds(),
        capacity_per_worker=random.choice((1.0, 10.0)),
        worker_concurrency=random.choice((None, 3)),
        library=random.choice(("bullmq", "bull")),
        measured_concurrency=random.choice((None, 2.5)),
        version=random.choice(("", "bullmq:6.7.0", 'odd"%s')),
    )


def some_events(random: Random) -> Events:
    jobs = Jobs((0.1, 1.0), native=random.random() < 0.5)
    for number in range(random.randrange(8)):
        entry = [b"event", random.choice(EVENTS), b"jobId", b"1"]
        jobs.feed([[b"%d-0" % (1000 + 90 * number), entry]])
    counters = jobs.counters()
    if random.random() < 0.2:
        counters = counters._replace(added=None, removed=None)
    if random.random() < 0.3:
        many = tuple(count * 900_000 for count in counters.wait.counts)
        counters = counters._replace(wait=counters.wait._replace(counts=many))
    read, lost, undone = (random.randrange(3) for _ in range(3))
    since, busy = random.choice((0.0, 1.7e9)), random.choice(SECONDS)
    return Events(counters, read, lost, random.random(), undone, since, busy_seconds=busy)


def mostly(random: Random, before: Any, new: Any) -> Any:
    """The new one, or that before with one part of the new: nothing else tells then that it changed."""
    if before is None or random.random() < 0.3:
        return new
    part = random.choice(new._fields)
    if part in ("jobs", "counters"):
        return before._replace(**{part: mostly(random, getattr(before, part), getattr(new, part))})
    return before._replace(**{part: getattr(new, part)})


def some_scrapes(random: Random) -> Iterator[Assessment]:
    """Queues that come, go, change and stay as they are, while their ages go on."""

    def some(most: int) -> list[str]:
        return random.choices(NAMES, k=random.randrange(most + 1))

    queues: dict[str, QueueState] = {}
    streams: dict[str, Events] = {}
    number = 0
    last = BullMQState(())
    for _ in range(16):
        queues |= {name: mostly(random, queues.get(name), some_queue(random, name)) for name in some(3)}
        streams |= {name: mostly(random, streams.get(name), some_events(random)) for name in some(2)}
        for name in some(1):
            queues.pop(name, None)
            streams.pop(name, None)
        if step := random.choice((0.0, 0.25)):
            for name, queue in queues.items():
                if queue.oldest_waiting is not None:
                    queues[name] = queue._replace(oldest_waiting=queue.oldest_waiting + step)
            streams = {name: each._replace(lag=each.lag + step) for name, each in streams.items()}
        state = BullMQState(
            tuple(queues.values()),
            events={QueueId("bull", name): each for name, each in streams.items()},
            own={
                QueueId("bull", name): OwnCounts(*(random.choice(COUNTS) for _ in range(3)))
                for name in some(2)
            },
            rates={
                QueueId("bull", name): Rates(300.0, None, None, None, random.randrange(3), 0)
                for name in some(2)
            },
        )
        number += random.choice((1, 1, 1, 2))  # another one in between was not seen
        known = Changes(number, changed(last, state)) if random.random() < 0.8 else None
        yield Assessment(Snapshot(0.0, bullmq=Ok(replace(state, changes=known))), NOBODY)
        last = state


def changed(before: BullMQState, after: BullMQState) -> set[QueueId]:
    """Of which more than an age is another one."""
    states, then = (
        {queue.id: queue._replace(oldest_waiting=None) for queue in each.queues} for each in (before, after)
    )
    both = states.keys() | then.keys()
    return {queue for queue in both if states.get(queue) != then.get(queue)} | changed_events(
        before.events or {}, after.events or {}
    )


@pytest.mark.slow
@settings(max_examples=20)
@given(st.integers(0, 1 << 32))
def test_each_scrape_has_the_lines_of_drawing_all_anew(seed: int) -> None:
    renderer = Renderer(FAMILIES)
    for assessment, form in zip(some_scrapes(Random(seed)), cycle(FORMATS), strict=False):
        body = renderer.body(assessment, form)
        # What only protobuf has, a family without its column does not know.
        apart = Renderer(FAMILIES) if form == "protobuf" else APART
        assert by_family(body.plain(), form) == by_family(apart.body(assessment, form).plain(), form)
        assert gzip.decompress(body.gzip()) == body.plain()


def test_the_first_scrape_has_the_order_of_the_table() -> None:
    queues = [
        QueueState(QueueId("bull", name), JobCounts(*range(7)), False, 0, 0, 0, 0) for name in reversed(NAMES)
    ]
    assessment = Assessment(Snapshot(0.0, bullmq=Ok(BullMQState(tuple(queues)))), NOBODY)
    assert Renderer(FAMILIES).text(assessment) == APART.text(assessment)


def test_a_row_is_looked_at_where_it_changed() -> None:
    """Else it would be seen that the other one changed, too."""
    table = Drawn()
    table.scrape({"a": 1, "b": 1, "c": 1, "d": 1})
    table.changes = Changes(1, {*()})
    table.scrape({"a": 1, "b": 1, "c": 1, "d": 1})
    table.changes = Changes(2, {("a",)})  # type: ignore[arg-type]
    drawn, text = table.scrape({"a": 2, "b": 1, "c": 2, "d": 1})
    assert drawn == blocks.SIZE
    assert text.count(b" 2.0") == 1
    table.changes = Changes(4, {*()})  # one was missed
    assert table.scrape({"a": 2, "b": 1, "c": 2, "d": 1})[1].count(b" 2.0") == 2
    table.changes = Changes(5, {("e",)})  # type: ignore[arg-type]
    assert table.scrape({"a": 2, "b": 1, "c": 2, "e": 2})[1].count(b" 2.0") == 3


class Drawn:
    """A table of numbers, of which the values that are drawn are counted."""

    def __init__(self) -> None:
        self.rows: Mapping[Any, Any] = {}
        self.values = 0
        self.changes: Changes | None = None
        table = Table(lambda _: self.rows, lambda row: row, lambda _: self.changes)
        column = TableColumn(table, lambda row: row, self._each)
        self.renderer = Renderer([Family.of_column("a", "gauge", "A.", ("queue",), column)])

    def _each(self, value: float) -> Any:
        self.values += 1
        return (((), value),)

    def scrape(self, rows: Mapping[str, float]) -> tuple[int, bytes]:
        """How many values are drawn for these rows, and the text."""
        self.rows = {(name,): value for name, value in rows.items()}
        before = self.values
        text = self.renderer.text(Assessment(Snapshot(0.0), NOBODY))
        return self.values - before, text


def test_what_did_not_change_is_not_drawn_again() -> None:
    table, rows = Drawn(), dict.fromkeys("abcdef", 1)
    assert table.scrape(rows)[0] == 6
    first = table.scrape(rows)
    assert first[0] == 0
    assert table.scrape(rows | {"c": 2})[0] == blocks.SIZE
    assert table.scrape(rows) == (blocks.SIZE, first[1])


def test_rows_that_change_again_and_again_are_drawn_alone() -> None:
    table, rows = Drawn(), dict.fromkeys([f"queue{number:02d}" for number in range(40)], 0)
    hot = [f"queue{number:02d}" for number in range(0, 40, 10)]
    drawn = []
    for number in range(20):
        rows |= dict.fromkeys(hot, number)
        drawn.append(table.scrape(rows)[0])
    assert drawn[1] == len(hot) * blocks.SIZE
    assert drawn[-1] == len(hot), "two blocks of two"
    assert drawn.count(len(rows)) == 2, "at first, and when the blocks were made again"


def test_rows_of_which_all_change_or_each_seldom_stay_where_they_are() -> None:
    table, names = Drawn(), [f"queue{number:02d}" for number in range(40)]
    drawn = [table.scrape(dict.fromkeys(names, number)) for number in range(20)]
    assert [count for count, _ in drawn] == [40] * 20
    rows, table = dict.fromkeys(names, 0), Drawn()
    table.scrape(rows)
    for name in names:
        rows[name] += 1
        assert table.scrape(rows)[0] == blocks.SIZE


def test_blocks_do_not_get_ever_smaller() -> None:
    table = Drawn()
    rows = dict.fromkeys([f"queue{number:03d}" for number in range(200)], 0)
    table.scrape(rows)
    for name in list(rows)[1::2]:
        del rows[name]
    assert {table.scrape(rows)[1].count(b"\n") for _ in range(10)} == {102}
    (of_table,) = table.renderer._lines._tables.values()
    assert len(of_table[1]._blocks) <= 2 * (100 // blocks.SIZE + 2)


def test_a_label_between_those_of_the_rows_is_refused() -> None:
    table = Table(lambda _: {}, itemgetter(0))
    column = TableColumn(table, itemgetter(0), lambda value: ((("x",), value),))
    families = [
        Family.of_column("a", "gauge", "A.", ("prefix", "queue"), TableColumn(table, itemgetter(0))),
        Family.of_column("b", "gauge", "B.", ("prefix", "queue", "priority"), column),
    ]
    with pytest.raises(ValueError, match="priority"):
        Renderer(families)
