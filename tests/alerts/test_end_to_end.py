"""Each of the eight alerts with its real cause, from Redis to the webhook, with scaled times.

OXHERD_ALERTS_FACTOR is the factor, OXHERD_ALERTS_TABLE the file for the measured times.
"""

from __future__ import annotations

import itertools
import os
import time
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Final
from unittest import mock

import pytest

from exporter.run import Exporter
from lab.prometheus import Prometheus
from lab.receiver import Receiver
from tests.support.alerts.causes import Cause, all_causes
from tests.support.alerts.monitoring import monitoring, rules_of, scaled_times
from tests.support.alerts.table import page
from tests.support.alerts.timeline import PATIENCE, Timeline, cooldowns_of_phase, run_all, timing_errors

FACTOR: Final = os.environ.get("OXHERD_ALERTS_FACTOR", "1/75")
TIMES: Final = scaled_times(float(Fraction(FACTOR)))
READ_DELAY: Final = TIMES.scrape + 2.0
"""Seconds: a scrape, and before it the exporter's discovery of workers."""
LONGEST: Final = 3.5 * max(TIMES.cooldowns.values()) + 600 * TIMES.factor + 4 * PATIENCE
"""Seconds: the longest cooldown's hold, flaps and end, its `for`, and the start of the servers."""

pytestmark = pytest.mark.timeout(LONGEST)

JOBS: Final = (
    "redis-lost",
    "node-lost",
    "memory-filled",
    "workers-stopped",
    "queues-refused",
    "jobs-failed",
    "jobs-trimmed",
    "host-memory",
    "host-load",
    "troubles",
)

Run = dict[str, Timeline]
"""The timelines, by job."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All causes at once, each with a separate exporter and scrape job."""
    with ExitStack() as undo:
        causes = all_causes(undo, TIMES.factor)
        targets = {cause.job: start_exporter(cause, undo) for cause in causes}
        receiver = undo.enter_context(Receiver())
        home = tmp_path_factory.mktemp("alerts")
        prometheus = undo.enter_context(monitoring(targets, TIMES, receiver, home))
        prometheus.wait_for(f"count(oxherd_health_score == 100) == {len(causes)} unless on() ALERTS")
        # A counter that is first scraped after the failures does not increase by them.
        prometheus.wait_for('bullmq_job_failed_total{job="jobs-trimmed"} == 0')
        timelines = [Timeline(cause, TIMES.cooldowns[cause.alert]) for cause in causes]
        notifications = run_all(timelines, receiver, TIMES)
        assert {notification.job for notification in notifications} == set(targets)
        for timeline in timelines:
            timeline.flaps = observed_flaps(timeline, prometheus)
            timeline.lowest = lowest(timeline, prometheus)
    if where := os.environ.get("OXHERD_ALERTS_TABLE"):
        Path(where).write_text(page(timelines, TIMES, FACTOR))
    return {timeline.cause.job: timeline for timeline in timelines}


def start_exporter(cause: Cause, undo: ExitStack) -> str:
    """The whole program with a simulated host; its address."""
    with mock.patch("exporter.collect.HostSource", return_value=cause.host):
        exporter = Exporter(cause.settings)
    exporter.start()
    undo.callback(exporter.stop)
    return exporter.address


def observed_flaps(timeline: Timeline, prometheus: Prometheus) -> int:
    """How often the alert's expression became true again in Prometheus while the cause flapped."""
    [group] = rules_of(timeline.cause.job, TIMES.factor)["groups"]
    [rule] = [rule for rule in group["rules"] if rule.get("alert") == timeline.cause.alert]
    ago = time.time() - time.monotonic()
    seconds = range(int(timeline.flapped + ago), int(timeline.ended + ago + READ_DELAY))
    data = prometheus.get(
        "query_range", query=rule["expr"], start=str(seconds.start), end=str(seconds.stop), step="1"
    )
    true = {int(at) for series in data["result"] for at, _ in series["values"]}
    states = [second in true for second in seconds]
    return sum(later and not earlier for earlier, later in itertools.pairwise(states))


def lowest(timeline: Timeline, prometheus: Prometheus) -> dict[str, float]:
    """The minimum of each series of the job in the whole run, by name."""
    results = {
        name: prometheus.query(f'min(min_over_time({name}{{job="{timeline.cause.job}"}}[1d]))')
        for name in ("redis_up", "bullmq_up", "oxherd_health_score")
    }
    return {name: value for name, [(_, value)] in results.items()}


@pytest.mark.parametrize("job", JOBS)
def test_one_notification_per_cooldown_while_firing_and_flapping_and_one_resolved(job: str, run: Run) -> None:
    timeline = run[job]
    assert timing_errors(timeline.of(timeline.cause.alert), timeline.cooldown, TIMES) == []
    repeats = 2 if timeline.cause.remembered else 2 * cooldowns_of_phase(timeline.cause, TIMES) + 1
    assert len(timeline.firing) >= 1 + repeats
    assert timeline.flaps or timeline.cause.remembered or not timeline.cause.flaps


@pytest.mark.parametrize("job", JOBS)
def test_resolved_follows_a_cooldown_after_the_cause_ended(job: str, run: Run) -> None:
    timeline = run[job]
    [end] = timeline.resolved
    late = end.at - timeline.ended - timeline.cooldown
    # A range drops the sample before the event, which may be a scrape older.
    assert late >= (-TIMES.scrape - TIMES.evaluation if timeline.cause.remembered else 0)
    assert late <= TIMES.max_end_delay + timeline.cause.settles


@pytest.mark.parametrize("job", JOBS)
def test_only_the_alerts_of_the_cause_notify_the_receiver_of_their_severity(job: str, run: Run) -> None:
    timeline = run[job]
    assert {notification.alert for notification in timeline.notifications} == timeline.cause.alerts
    for alert in timeline.cause.accompanying:
        assert timing_errors(timeline.of(alert), TIMES.cooldowns[alert], TIMES) == []
    assert all(
        notification.path == f"/{notification.body['commonLabels']['severity']}"
        for notification in timeline.notifications
    )
    labels = {
        (notification.alert, str(notification.body["groupLabels"])) for notification in timeline.notifications
    }
    assert len(labels) == len(timeline.cause.alerts)


def test_every_alert_has_a_cause_and_every_cause_was_run(run: Run) -> None:
    assert {timeline.cause.alert for timeline in run.values()} == set(TIMES.cooldowns)
    assert set(run) == set(JOBS)


def test_alerts_that_a_lost_redis_causes_are_inhibited(run: Run) -> None:
    """The job has no other notification, although the conditions of the other alerts were true."""
    lowest_values = run["redis-lost"].lowest
    assert (lowest_values["redis_up"], lowest_values["bullmq_up"]) == (0, 0)
    assert lowest_values["oxherd_health_score"] < 50
