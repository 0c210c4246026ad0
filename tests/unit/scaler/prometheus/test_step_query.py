from __future__ import annotations

import pytest

from scaler.config.prometheus import PrometheusSettings
from scaler.prometheus.client import LIMIT, Server
from scaler.prometheus.promql import DEFAULT_QUERIES, QueueKey
from scaler.prometheus.step_query import StepQuery, result_of, submit
from service.clock import Deadline
from service.outcome import UnreadableError
from tests.support.no_threads import no_threads


@pytest.mark.fault
def test_without_room_for_a_thread_the_query_has_failed_and_says_why() -> None:
    server = Server("http://127.0.0.1:9", PrometheusSettings())
    with no_threads():
        answer = result_of(submit(server, StepQuery("up"), Deadline.after(5)))
    assert isinstance(answer, UnreadableError)
    assert "no room for another thread" in str(answer)
    server.close()


@pytest.mark.fault
@pytest.mark.parametrize(("queues", "least", "most"), [(1, 1 << 20, 2 << 20), (1000, 20 << 20, 40 << 20)])
def test_the_limit_of_an_answer_follows_the_number_of_queues(queues: int, least: int, most: int) -> None:
    keys = frozenset(QueueKey("bull", f"q{number}") for number in range(queues))
    query = StepQuery.of(DEFAULT_QUERIES, {}, keys)
    assert least <= query.limit <= most
    assert query.native is not None
    assert query.native.limit == query.limit


def test_the_limit_for_all_queues_is_the_largest() -> None:
    assert StepQuery.of(DEFAULT_QUERIES, {}, frozenset()).limit == LIMIT
