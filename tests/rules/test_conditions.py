"""The table of conditions and the shipped rules say the same.

Each state that the rules of health are tested with is held for a time, published, scraped and evaluated by
promtool: the alert of a condition fires after its `for`, goes on for its cooldown after the end, and nothing
else fires.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import yaml

from deploy.rules import __main__ as rules
from deploy.rules.thresholds import AlertThresholds
from exporter.assessment import Assessment
from exporter.condition_table import CONDITION_TABLE
from exporter.config.health import HealthSettings, Thresholds
from exporter.health import Health, assess
from exporter.snapshot.queues import BullMQState
from exporter.snapshot.schedulers import QueueSchedulers, Scheduler
from exporter.snapshot.whole import Snapshot
from lab.prometheus import promtool
from service.outcome import Ok
from tests.support.alerts.promtool import STEP, firing, input_series
from tests.support.health_cases import BASE, CASES, DEFAULTS
from tests.support.work_cases import MAIL, WORK_CASES, queue, state_of

pytestmark = pytest.mark.timeout(180)

THRESHOLDS: Final = AlertThresholds.read(rules.RULE_FOLDER / "thresholds.yml")
FILES: Final = [
    path
    for path in rules.rule_files(THRESHOLDS)
    if path.parent == rules.RULE_FOLDER and path.name != "oxherd-scaler.yml"  # there is no scaler here
]
ALERTS: Final = {
    rule["alert"]: rule
    for path in FILES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
BEGIN, END, LAST = 300, 1080, 3000
"""Seconds: the state holds from BEGIN to END, longer than any `for`; until LAST every cooldown ends."""
NOW: Final = 10_000.0
SCHEDULER: Final = Scheduler(
    id="report",
    name="report",
    chosen_id=True,
    next_run=NOW - 600,
    last_run=NOW - 660,
    every=60.0,
    pattern=None,
    timezone=None,
    ends_at=None,
    limit=None,
    iterations=2,
    job="pending",
    quiet_since=NOW - 660,
)


class State(NamedTuple):
    """A state of everything, and the settings by which it is judged."""

    snapshot: Snapshot
    settings: HealthSettings = DEFAULTS

    @property
    def health(self) -> Health:
        return assess(self.snapshot, self.settings)


def with_queues(state: BullMQState) -> Snapshot:
    return replace(BASE, bullmq=Ok(state))


def with_schedulers(*schedulers: Scheduler) -> State:
    missing = tuple(each for each in schedulers if each.job == "gone")
    read = QueueSchedulers(schedulers, NOW, missing=missing, silent_at=inf)
    return State(with_queues(state_of(queue(waiting=0, workers=1), schedulers={MAIL: read})))


STATES: Final = {
    **{title: State(change(BASE)) for title, change, _ in CASES},
    **{f"work: {title}": State(with_queues(state)) for title, (state, _) in WORK_CASES.items()},
    "a job waits for too long": State(
        with_queues(state_of(queue(workers=1, active=1, oldest_waiting=700.0))),
        HealthSettings(thresholds=Thresholds(wait_seconds=600)),
    ),
    "a scheduler is late": with_schedulers(SCHEDULER),
    "a scheduler has no next job": with_schedulers(
        SCHEDULER._replace(job="gone", missing_since=NOW - 600, next_run=NOW + 30)
    ),
}


def seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]


def expected(health: Health) -> set[str]:
    """The alerts that this state is for, after their `for`."""
    alerts = {CONDITION_TABLE[issue.name].alert for issue in health.issues}
    failed = [issue for issue in health.issues if issue.name == "failed_jobs_high"]
    if sum(value for issue in failed for _, value, _ in issue.affected) <= THRESHOLDS.failed_jobs:
        alerts.discard("HighFailedJobs")  # the score has a lower threshold than the alert
    if health.score < THRESHOLDS.health_score:
        alerts.add("HealthScoreCritical")
    if "RedisConnectionDown" in alerts:  # what follows from it is not told beside it
        alerts -= FOLLOWING
    return {name for name in alerts if name}


def fires(alert: str, time: int) -> bool | None:
    """Whether an alert of the state fires; None: just now it may or may not."""
    begin, end = BEGIN + seconds(ALERTS[alert]["for"]), END + seconds(ALERTS[alert]["keep_firing_for"])
    if begin - STEP <= time <= begin + LATE or end - STEP <= time <= end + LATE:
        return None
    return begin < time < end


def checks(there: Collection[str]) -> list[dict[str, object]]:
    times = range(120, LAST if there else END, 60)
    tests = []
    for time in times:
        states = {name: fires(name, time) for name in there}
        if None not in states.values():
            tests.append(firing(time, {*ALWAYS, *(name for name, state in states.items() if state)}))
    assert tests
    return tests


def held(state: State) -> list[tuple[Assessment, int]]:
    """All is well, then there is the state, then all is well again."""
    well = Assessment(BASE, assess(BASE, DEFAULTS))
    ill = Assessment(state.snapshot, state.health)
    return [(well, BEGIN // STEP), (ill, (END - BEGIN) // STEP), (well, (LAST - END) // STEP)]


FOLLOWING: Final = {"ClusterNodeDown", "QueueSystemDown", "HealthScoreCritical"}
LATE: Final = 90
"""Seconds by which an alert may begin and end later: a value outlasts a gap of a minute."""
ALWAYS: Final = {"OxherdWatchdog"}


def test_each_alert_of_the_table_is_shipped_with_its_severity() -> None:
    paged = {row.name: row.alert for row in CONDITION_TABLE.values() if row.alert}
    assert set(paged.values()) <= ALERTS.keys()
    for name, alert in paged.items():
        assert ALERTS[alert]["labels"]["severity"] == CONDITION_TABLE[name].severity, name


def test_each_condition_that_pages_has_a_state() -> None:
    there = {issue.name for state in STATES.values() for issue in state.health.issues}
    assert {row.name for row in CONDITION_TABLE.values() if row.alert} - there == set()


@pytest.mark.parametrize("title", STATES)
def test_the_alert_of_a_condition_fires_if_and_only_if_it_is_there(title: str, tmp_path: Path) -> None:
    phases = held(STATES[title])
    group = {
        "name": title,
        "interval": f"{STEP}s",
        "input_series": input_series(phases),
        "promql_expr_test": checks(expected(phases[1][0].health)),
    }
    file = tmp_path / "conditions.yml"
    content = {"rule_files": [*map(str, FILES)], "evaluation_interval": f"{STEP}s", "tests": [group]}
    file.write_text(yaml.safe_dump(content))
    result = promtool("test", "rules", str(file))
    assert result.returncode == 0, result.stdout + result.stderr
