"""Each of the eight alerts by its real cause, from Redis to the webhook, in a fraction of its time.

OXHERD_ALERTS_FACTOR is that fraction, OXHERD_ALERTS_TABLE the file that the measured times are written to.
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
from tests.support.alerts.monitoring import pace, rules_of, watching
from tests.support.alerts.story import PATIENCE, Story, play_all, rounds, untimely
from tests.support.alerts.table import page

FACTOR: Final = os.environ.get("OXHERD_ALERTS_FACTOR", "1/75")
PACE: Final = pace(float(Fraction(FACTOR)))
SEEN_LATE: Final = PACE.scrape + 2.0
"""Seconds: a scrape, and before it a look at who is connected."""
LONGEST: Final = 3.5 * max(PACE.cooldowns.values()) + 600 * PACE.factor + 4 * PATIENCE
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

Run = dict[str, Story]
"""What happened, by job."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All causes at once, each with an exporter and a scrape job of its own."""
    with ExitStack() as undo:
        causes = all_causes(undo)
        targets = {cause.job: start_exporter(cause, undo) for cause in causes}
        receiver = undo.enter_context(Receiver())
        home = tmp_path_factory.mktemp("alerts")
        prometheus = undo.enter_context(watching(targets, PACE, receiver, home))
        prometheus.wait_for(f"count(oxherd_health_score == 100) == {len(causes)} unless on() ALERTS")
        # A counter that is first seen after the failures does not rise by them.
        prometheus.wait_for('bullmq_job_failed_total{job="jobs-trimmed"} == 0')
        stories = [Story(cause, PACE.cooldowns[cause.alert]) for cause in causes]
        notifications = play_all(stories, receiver, PACE)
        assert {notification.job for notification in notifications} == set(targets)
        for story in stories:
            story.flaps = flaps_seen(story, prometheus)
            story.lowest = lowest(story, prometheus)
    if where := os.environ.get("OXHERD_ALERTS_TABLE"):
        Path(where).write_text(page(stories, PACE, FACTOR))
    return {story.cause.job: story for story in stories}


def start_exporter(cause: Cause, undo: ExitStack) -> str:
    """The whole program, but for the reader of the host; its address."""
    with mock.patch("exporter.collect.collect_host", cause.host.collect):
        exporter = Exporter(cause.settings)
    exporter.start()
    undo.callback(exporter.stop)
    return exporter.address


def flaps_seen(story: Story, prometheus: Prometheus) -> int:
    """How often Prometheus saw the alert's expression become true again while the cause flapped."""
    [group] = rules_of(story.cause.job, PACE.factor)["groups"]
    [rule] = [rule for rule in group["rules"] if rule["alert"] == story.cause.alert]
    ago = time.time() - time.monotonic()
    seconds = range(int(story.flapped + ago), int(story.ended + ago + SEEN_LATE))
    data = prometheus.get(
        "query_range", query=rule["expr"], start=str(seconds.start), end=str(seconds.stop), step="1"
    )
    true = {int(at) for series in data["result"] for at, _ in series["values"]}
    states = [second in true for second in seconds]
    return sum(later and not earlier for earlier, later in itertools.pairwise(states))


def lowest(story: Story, prometheus: Prometheus) -> dict[str, float]:
    """The least value that a series of the job had in the whole run, by its name."""
    results = {
        name: prometheus.query(f'min(min_over_time({name}{{job="{story.cause.job}"}}[1d]))')
        for name in ("redis_up", "bullmq_up", "oxherd_health_score")
    }
    return {name: value for name, [(_, value)] in results.items()}


@pytest.mark.parametrize("job", JOBS)
def test_told_once_a_cooldown_while_it_holds_and_while_it_flaps_and_its_end_once(job: str, run: Run) -> None:
    story = run[job]
    assert untimely(story.of(story.cause.alert), story.cooldown, PACE) == []
    repeats = 2 if story.cause.remembered else 2 * rounds(story.cause, PACE) + 1
    assert len(story.firing) >= 1 + repeats
    assert story.flaps or story.cause.remembered


@pytest.mark.parametrize("job", JOBS)
def test_its_end_is_told_a_cooldown_after_the_cause_is_gone(job: str, run: Run) -> None:
    story = run[job]
    [end] = story.resolved
    late = end.at - story.ended - story.cooldown
    # A range forgets at a sample, which may be a scrape older than the event.
    assert late >= (-PACE.scrape - PACE.evaluation if story.cause.remembered else 0)
    assert late <= PACE.grain + story.cause.settles


@pytest.mark.parametrize("job", JOBS)
def test_nothing_is_told_but_this_trouble_to_whom_it_concerns(job: str, run: Run) -> None:
    story = run[job]
    assert {notification.alert for notification in story.notifications} == story.cause.alerts
    for alert in story.cause.beside:
        assert untimely(story.of(alert), PACE.cooldowns[alert], PACE) == []
    assert all(
        notification.path == f"/{notification.body['commonLabels']['severity']}"
        for notification in story.notifications
    )
    labels = {
        (notification.alert, str(notification.body["groupLabels"])) for notification in story.notifications
    }
    assert len(labels) == len(story.cause.alerts)


def test_every_alert_has_a_cause_and_every_cause_was_played(run: Run) -> None:
    assert {story.cause.alert for story in run.values()} == set(PACE.cooldowns)
    assert set(run) == set(JOBS)


def test_what_follows_from_a_lost_redis_was_there_and_was_not_told(run: Run) -> None:
    """Nothing else was told of this job, though each follower's reason was seen."""
    lowest_values = run["redis-lost"].lowest
    assert (lowest_values["redis_up"], lowest_values["bullmq_up"]) == (0, 0)
    assert lowest_values["oxherd_health_score"] < 50
