"""Page and commands mark what health judges, and nothing else."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType

from exporter.assessment import Assessment
from exporter.bullmq.reasons.tally import ReasonTally
from exporter.bullmq.streams.events import Jobs
from exporter.bullmq.tallies.label_budget import LabelBudget
from exporter.commands import tables
from exporter.config.health import HealthSettings
from exporter.health import assess
from exporter.jobs.lines import failed_reason_lines
from exporter.page import status_page
from exporter.snapshot.queues import (
    BullMQState,
    Events,
    FailedReason,
    FailedReasons,
    QueueId,
    QueueState,
    Work,
)
from exporter.snapshot.schedulers import QueueSchedulers, Scheduler
from exporter.snapshot.whole import Snapshot
from exporter.summaries import (
    cell_level,
    endpoint_state,
    node_state,
    queue_conditions,
    scheduler_lines,
)
from exporter.views import About, View, status_view
from service.catalogs import ENGLISH
from service.outcome import Ok
from tests.support.health_cases import BASE, CASES, DEFAULTS
from tests.support.judgement.colours import expected_levels, page_levels, table_levels
from tests.support.work_cases import MAIL, WORK_CASES, before, queue, state_of

NOW = 10_000.0
IDLE = queue(waiting=0, workers=1)
HOURLY = Scheduler(
    id="hourly",
    name="report",
    chosen_id=True,
    next_run=NOW - 90,
    last_run=NOW - 3690,
    every=3600.0,
    pattern=None,
    timezone=None,
    ends_at=None,
    limit=None,
    iterations=2,
    job="pending",
)


def view_of(snapshot: Snapshot, settings: HealthSettings = DEFAULTS) -> View:
    health = assess(snapshot, settings)
    return status_view(Assessment(snapshot, health), About("1", monitoring=True, uptime=1.0))


def view(state: BullMQState, settings: HealthSettings = DEFAULTS) -> View:
    return view_of(replace(BASE, bullmq=Ok(state)), settings)


def scheduled(
    *schedulers: Scheduler, of: QueueState = IDLE, settings: HealthSettings = DEFAULTS, **fields: float
) -> View:
    listed = tuple(sorted(schedulers, key=lambda each: each.next_run))
    missing = tuple(each for each in schedulers if each.job == "gone")
    read = QueueSchedulers(listed, NOW, missing=missing)._replace(**fields)  # type: ignore[arg-type]
    return view(state_of(of, schedulers={of.id: read}), settings)


def lines(shown: View) -> list[str]:
    return scheduler_lines(shown, ENGLISH)


def coloured(shown: View) -> str:
    return printed(tables.queues_table(shown), terminal=True)


def printed(table: RenderableType, *, terminal: bool = False) -> str:
    stream = io.StringIO()
    Console(file=stream, width=220, force_terminal=terminal, markup=False, highlight=False).print(table)
    return stream.getvalue()


def test_a_scheduler_that_is_late() -> None:
    shown = scheduled(HOURLY, HOURLY._replace(id="next", next_run=NOW + 30))
    assert lines(shown) == ["mail: hourly: its run is 1 min 30 s late. It last ran 1 h 1 min ago."]
    assert "its run is 1 min 30 s late" in status_page(shown)
    assert "its run is 1 min 30 s late" in coloured(shown)
    (mail,) = shown["queues"]["queues"]
    issues = {each["id"]: each["issue"] for each in mail["job_schedulers"]["schedulers"]}
    assert issues == {"hourly": "scheduler_late", "next": None}


@pytest.mark.parametrize(
    ("of", "settings", "fields"),
    [
        (IDLE._replace(paused=True), DEFAULTS, {}),
        (IDLE, DEFAULTS, {"held_at": NOW - 59}),
        (IDLE, DEFAULTS, {"limited_at": NOW - 1}),
        (IDLE, HealthSettings.model_validate({"queues": [{"match": "ma*", "excluded": True}]}), {}),
        (IDLE, HealthSettings.model_validate({"thresholds": {"scheduler_late_seconds": 90}}), {}),
    ],
    ids=["paused", "just resumed", "at a limit", "excluded", "a longer limit"],
)
def test_a_scheduler_that_health_does_not_call_late(
    of: QueueState, settings: HealthSettings, fields: dict[str, float]
) -> None:
    shown = scheduled(HOURLY, of=of, settings=settings, **fields)
    assert lines(shown) == []
    assert "late" not in status_page(shown) + coloured(shown)
    ((scheduler,),) = [each["job_schedulers"]["schedulers"] for each in shown["queues"]["queues"]]
    assert (scheduler["lateness"], scheduler["issue"]) == (90.0, None)


def test_one_whose_next_run_was_moved_ahead_is_late() -> None:
    quiet = HOURLY._replace(every=60.0, next_run=NOW + 9e5, quiet_since=NOW - 600)
    assert lines(scheduled(quiet, silent_at=NOW - 480)) == ["mail: hourly: its run is 9 min late."]


def test_one_without_a_next_job_is_told_once_health_says_so() -> None:
    gone = HOURLY._replace(job="gone", missing_since=NOW - 30)
    assert lines(scheduled(gone)) == []
    (line,) = lines(scheduled(gone._replace(missing_since=NOW - 31)))
    assert line.startswith("mail: hourly: its next job is missing, it will not run again.")


def test_what_is_judged_is_in_the_view_of_thousands() -> None:
    later = [HOURLY._replace(id=str(at), next_run=NOW - 50 + at) for at in range(300)]
    moved = HOURLY._replace(id="moved", every=60.0, next_run=NOW + 9e5, quiet_since=NOW - 600)
    (mail,) = scheduled(*later, moved, silent_at=NOW - 480)["queues"]["queues"]
    assert mail["job_schedulers"]["schedulers"][0]["id"] == "moved"


def test_queues_of_two_prefixes_are_told_apart() -> None:
    other = IDLE._replace(id=QueueId("eu", "mail"))
    read = QueueSchedulers((HOURLY,), NOW)
    shown = view(state_of(IDLE, other, schedulers={other.id: read}))
    assert lines(shown)[0].startswith("eu:mail: hourly: ")
    marked = {
        (each["prefix"], scheduler["issue"])
        for each in shown["queues"]["queues"]
        for scheduler in (each["job_schedulers"] or {"schedulers": [{"issue": None}]})["schedulers"]
    }
    assert marked == {("bull", None), ("eu", "scheduler_late")}


COLUMNS = {
    "workers": {"queue_standing_still", "queue_without_workers"},
    "failed": {"failed_jobs_high", "failures_rising"},
    "delayed": {"delayed_overdue"},
    "oldest": {"queue_wait_high"},
    "longest": {"active_too_long"},
    "waiting_children": {"waiting_children_long"},
    "paused": {"paused_long"},
}


@pytest.mark.parametrize("title", WORK_CASES)
def test_a_figure_is_marked_while_its_condition_is_there(title: str) -> None:
    state, names = WORK_CASES[title]
    conditions = queue_conditions(view(state)["health"]).get(MAIL, {})
    marked = {column for column in COLUMNS if cell_level(conditions, column)}
    assert marked == {column for column, of_column in COLUMNS.items() if names & of_column}


def test_colours_follow_the_severity() -> None:
    standing = {"queue_standing_still": "critical", "delayed_overdue": "high"}
    assert [cell_level(standing, column) for column in ("workers", "delayed", "failed", "active")] == [
        *("critical", "warning", "", "")
    ]


def test_jobs_that_wait_for_a_moment_and_kept_failures_have_no_colour() -> None:
    shown = view(state_of(queue(failed=3), queue("nightly", paused=True)))
    row = next(line for line in coloured(shown).splitlines() if "nightly" in line)
    assert "\x1b[33m" not in row
    assert "\x1b[31m" not in coloured(shown)
    page = status_page(shown)
    assert '<span class="badge dim">paused</span>' in page
    assert 'class="number warning"' not in page


def test_a_global_concurrency_of_0_is_marked_as_the_pause_that_it_is() -> None:
    limits = {"none": None, "zero": 0, "one": 1, "paused": None}
    queues = [queue(name, concurrency_limit=limit, paused=name == "paused") for name, limit in limits.items()]
    shown = view(state_of(*queues))
    text, page = coloured(shown), status_page(shown)
    assert [name for name in limits if f"{name} (paused" in re.sub("\x1b[^m]*m", "", text)] == [
        "zero",
        "paused",
    ]
    assert page.count('<span class="badge dim">paused: concurrency 0</span>') == 1
    assert page.count('<span class="badge dim">paused</span>') == 1


def test_a_global_concurrency_of_0_for_a_day_has_the_colour_of_its_condition() -> None:
    state, _ = WORK_CASES["a global concurrency of 0 for a day"]
    assert '<span class="badge warning">paused: concurrency 0</span>' in status_page(view(state))
    assert "\x1b[33m" in next(line for line in coloured(view(state)).splitlines() if "mail" in line)


def test_what_is_not_known_yet_is_said_beside_the_score() -> None:
    after_a_start = before(standing=5, without_workers=5) | {
        QueueId("bull", "nightly"): Work(paused=60, paused_before=True)
    }
    shown = view(state_of(queue(), queue("nightly", paused=True), work=after_a_start))
    line = (
        "2 conditions are not known yet, as they may have begun before the exporter: paused_long (known in "
        "23 h 59 min at the latest), queue_standing_still (known in 55 s at the latest)"
    )
    assert not shown["health"]["issues"]
    for table in (tables.health_table, tables.status_table):
        assert line in printed(table(shown))
    assert f'<p class="dim">{line}</p>' in status_page(shown)
    known = view(state_of(IDLE))
    assert "not known yet" not in printed(tables.health_table(known)) + status_page(known)


def test_the_view_of_an_exporter_that_does_not_say_it() -> None:
    shown = view(state_of(IDLE))
    older = {name: value for name, value in shown["health"].items() if name != "not_known_yet"}
    assert "100" in printed(tables.health_table({**shown, "health": older}))


@pytest.mark.parametrize("title", WORK_CASES)
def test_page_and_table_have_the_colours_of_the_severities(title: str) -> None:
    shown = view(WORK_CASES[title][0])
    on_page, in_table = page_levels(status_page(shown)), table_levels(coloured(shown))
    for name, levels in expected_levels(shown).items():
        assert on_page[name] == {column: levels[column] for column in on_page[name]}
        assert in_table[name] == set(levels.values()) - {""}


def test_a_queue_that_stands_still_is_marked() -> None:
    state, _ = WORK_CASES["no worker for 60 s"]
    assert 'class="number critical">0<' in status_page(view(state))
    assert "\x1b[31m" in next(line for line in coloured(view(state)).splitlines() if "mail" in line)


JUDGED = {"redis_unreachable", "cluster_node_unhealthy", "replication_broken", "probe_failing"}


@pytest.mark.parametrize("title", [title for title, *_ in CASES])
def test_nodes_and_endpoints_are_shown_as_health_judges_them(title: str) -> None:
    change = {title: change for title, change, _ in CASES}[title]
    shown = view_of(change(BASE))
    affected = {
        each["subject"]
        for issue in shown["health"]["issues"]
        if issue["name"] in JUDGED
        for each in issue["affected"]
    }
    nodes = (shown["redis"] or {"nodes": ()})["nodes"]
    not_up = {node["address"] for node in nodes if node_state(node) != "up"}
    failing = {probe["name"] for probe in shown["probes"] or () if endpoint_state(probe) == "failing"}
    assert not_up | failing == affected & ({node["address"] for node in nodes} | failing)


def failing(*reasons: FailedReason, of: QueueState = IDLE) -> View:
    """A queue in which jobs failed for these reasons."""
    jobs = Jobs(reasons=ReasonTally(LabelBudget(1), 1))
    counters = jobs.counters()._replace(reasons=FailedReasons(reasons, 0))
    return view(state_of(of, events={of.id: Events(counters, 0, 0, 0.0)}))


def test_reasons_of_failures_are_lines_the_most_frequent_first() -> None:
    now = BASE.taken_at
    shown = failing(
        FailedReason("timeout after #ms", 3, now - 900, now - 60, "41", 3),
        FailedReason("disk full", 1, now - 30, now - 30, "a\x1b[2Jb", 1),
        FailedReason("of long ago", 9, now - 999_999, now - 90_000, "1", 9),
    )
    assert failed_reason_lines(shown, ENGLISH, prefixed=False) == [
        "mail: 3 jobs failed, the last one 1 min ago (41): timeout after #ms",
        "mail: 1 job failed, the last one 30 s ago (a\\x1b[2Jb): disk full",
    ]


def test_only_the_five_most_frequent_reasons_are_lines() -> None:
    shown = failing(*(FailedReason(f"of kind {n}", n, NOW, NOW, "1", None) for n in range(1, 9)))
    assert [line.rpartition(" ")[2] for line in failed_reason_lines(shown, ENGLISH, prefixed=False)] == list(
        "87654"
    )


def test_without_counted_reasons_there_are_no_lines() -> None:
    assert failed_reason_lines(view(state_of(IDLE)), ENGLISH, prefixed=False) == []
