"""One judgement: page, commands, API, log, series and webhook say the same about each cause, begin and end.

A row for a further cause: tests/support/judgement, in the table of its subject.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from exporter.condition_table import CONDITION_TABLE
from lab.deadline import wait_until
from lab.ports import free_port
from lab.receiver import Receiver
from tests.support.alerts.monitoring import monitoring, scaled_times
from tests.support.judgement import host, jobs, redis, work
from tests.support.judgement.cause import World, single
from tests.support.judgement.walk import Alerting, running, walk

WORLDS: Final[tuple[World, ...]] = (*redis.WORLDS, *work.WORLDS, *jobs.WORLDS, *host.WORLDS)
CAUSES: Final = tuple(cause for world in WORLDS for cause in world.causes)
TIMES: Final = scaled_times(1 / 150, extra=True)

pytestmark = pytest.mark.timeout(300)  # each takes 2 to 70 s alone; all share one Prometheus


@pytest.fixture(scope="module")
def alerting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    """One Prometheus for all causes, whose exporters listen on the same address in turn."""
    address = f"127.0.0.1:{free_port()}"
    with Receiver() as receiver:
        home = tmp_path_factory.mktemp("judgement")
        with monitoring({"oxherd": address}, TIMES, receiver, home):
            yield Alerting(address, receiver, TIMES)


def test_every_condition_has_a_cause() -> None:
    assert {cause.condition for cause in CAUSES} == CONDITION_TABLE.keys()


def test_every_alert_of_a_condition_is_waited_for_once() -> None:
    waited = Counter(CONDITION_TABLE[cause.condition].alert for cause in CAUSES if cause.alert)
    del waited[None]
    assert waited.keys() == {row.alert for row in CONDITION_TABLE.values() if row.alert}


def test_what_is_not_known_yet_after_a_start_is_said() -> None:
    """Without an issue: the queue may have been paused just now, or long ago."""
    with ExitStack() as undo:
        servers = single(undo)
        servers.jobs.pause("held")
        servers.jobs.add("held")
        views = undo.enter_context(running({}, servers, f"127.0.0.1:{free_port()}"))
        wait_until(views.not_known_yet, what="conditions that are not known yet")
        assert views.not_known_yet() == {"paused_long"}
        assert views.in_series("paused_long") is None
        assert views.issue("paused_long") is None
        line = "1 condition is not known yet, as it may have begun before the exporter: paused_long (known in"
        assert views.shown(line) == ["monitor health", "page"]
        servers.jobs.resume("held")
        wait_until(lambda: not views.not_known_yet(), what="nothing that is not known")
        assert views.in_series("paused_long") is False
        assert not views.shown("not known yet")


@pytest.mark.fault
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_all_views_say_the_same(world: World, alerting: Alerting) -> None:
    with ExitStack() as undo:
        servers = world.servers(undo)
        undo.enter_context(servers.kept)
        walk(world, servers, alerting)
