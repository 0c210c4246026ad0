"""One judgement: page, commands, API, log, series and webhook say the same about each cause, begin and end.

A row for a further cause: tests/support/judgement, in the table of its subject.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from exporter.condition_table import CONDITION_TABLE
from lab.ports import free_port
from lab.receiver import Receiver
from tests.support.alerts.monitoring import monitoring, scaled_times
from tests.support.judgement import redis, work
from tests.support.judgement.cause import Cause
from tests.support.judgement.walk import Alerting, walk

CAUSES: Final[tuple[Cause, ...]] = (*redis.CAUSES, *work.CAUSES)
NO_CAUSE: Final = redis.NO_CAUSE | work.NO_CAUSE | {"failed_jobs_high": "tests/alerts"}
TIMES: Final = scaled_times(1 / 150)

pytestmark = pytest.mark.timeout(120)  # each takes 2 to 12 s alone; all share one Prometheus


@pytest.fixture(scope="module")
def alerting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    """One Prometheus for all causes, whose exporters listen on the same address in turn."""
    address = f"127.0.0.1:{free_port()}"
    with Receiver() as receiver:
        home = tmp_path_factory.mktemp("judgement")
        with monitoring({"oxherd": address}, TIMES, receiver, home):
            yield Alerting(address, receiver, TIMES)


def test_every_condition_has_a_cause_or_a_reason_why_none_can_be_made() -> None:
    caused = {cause.condition for cause in CAUSES}
    assert caused | NO_CAUSE.keys() == CONDITION_TABLE.keys()
    assert not caused & NO_CAUSE.keys()


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_all_views_say_the_same(cause: Cause, alerting: Alerting) -> None:
    with ExitStack() as undo:
        servers = cause.servers(undo)
        undo.enter_context(servers.kept)
        walk(cause, servers, alerting)
