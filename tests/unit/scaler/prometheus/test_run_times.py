from __future__ import annotations

import logging
from threading import Event
from typing import Any

import pytest

from scaler.config.prometheus import PrometheusSettings
from scaler.model import RunTimeP99
from scaler.prometheus import run_times
from scaler.prometheus.observer import Observer
from scaler.prometheus.parse import QueryError
from scaler.prometheus.promql import QueueKey
from scaler.prometheus.run_times import ASK_SECONDS, RunTimes
from service.clock import Deadline
from service.outcome import UnreadableError
from tests.support.no_threads import no_threads

MAIL, VIDEO = QueueKey("bull", "mail"), QueueKey("bull", "video")


def answer(queue: str, seconds: float) -> list[Any]:
    labels = {"prefix": "bull", "queue": queue}
    bounds = {"10": seconds <= 10, "60": seconds <= 60, "+Inf": True}
    buckets = [{"metric": labels | {"le": le}, "value": [1, str(int(fits))]} for le, fits in bounds.items()]
    return [*buckets, {"metric": labels | {"oxherd_measure": "sum"}, "value": [1, str(seconds)]}]


class Server:
    """Answers each query with the next of the answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[Any] | UnreadableError) -> None:
        self.answers, self.queries = list(answers), list[str]()
        self.time = 0.0
        monkeypatch.setattr(Observer, "instant", lambda _, query, deadline: self.respond(query, deadline))
        monkeypatch.setattr(run_times, "monotonic", lambda: self.time)

    def respond(self, query: str, deadline: Deadline) -> list[Any]:
        assert deadline.remaining() <= 10
        self.queries.append(query)
        result = self.answers.pop(0)
        if isinstance(result, UnreadableError):
            raise result
        return result

    def asked(self, under_test: RunTimes, *keys: QueueKey, after: float = 0.0) -> RunTimeP99 | None:
        self.time += after
        under_test.ask(keys)
        under_test.close(10)
        return under_test.longest(keys)


def make() -> RunTimes:
    return RunTimes(PrometheusSettings())


def test_the_queue_with_the_longest_jobs_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    server, under_test = Server(monkeypatch, answer("mail", 5) + answer("video", 57)), make()
    assert under_test.longest([MAIL]) is None
    assert server.asked(under_test, MAIL, VIDEO) == RunTimeP99("video", 57.0)
    assert under_test.longest([MAIL]) == RunTimeP99("mail", 5.0)
    assert under_test.longest([QueueKey("other", "mail")]) is None


def test_it_is_asked_at_most_once_in_five_minutes_and_never_without_queues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, under_test = Server(monkeypatch, answer("mail", 5), answer("mail", 8)), make()
    server.asked(under_test)
    assert server.queries == []
    for _ in range(59):
        server.asked(under_test, MAIL, after=5)
    assert len(server.queries) == 1
    assert server.asked(under_test, MAIL, after=ASK_SECONDS) == RunTimeP99("mail", 8.0)
    assert len(server.queries) == 2


def test_a_server_that_hangs_is_not_waited_for_nor_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server, under_test, released = Server(monkeypatch), make(), Event()

    def hang(query: str) -> list[Any]:
        server.queries.append(query)
        released.wait(10)
        return answer("mail", 57)

    monkeypatch.setattr(Observer, "instant", lambda _, query, deadline: hang(query))
    for _ in range(3):
        server.time += 2 * ASK_SECONDS
        under_test.ask([MAIL])
        assert under_test.longest([MAIL]) is None
    released.set()
    under_test.close(10)
    assert len(server.queries) == 1


def test_a_thousand_queues_are_asked_a_hundred_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [QueueKey("bull", f"q{number}") for number in range(1000)]
    server = Server(monkeypatch, *([[]] * 10))
    assert server.asked(make(), *keys) is None
    assert [query.count("|") for query in server.queries] == [3 * 99] * 10


def test_a_failure_is_not_known_and_what_was_known_is_forgotten_in_time(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slow = UnreadableError("timeout", "too slow")
    server, under_test = Server(monkeypatch, slow, answer("mail", 57), slow, slow, slow), make()
    known = [server.asked(under_test, MAIL, after=ASK_SECONDS) for _ in range(5)]
    measured = RunTimeP99("mail", 57.0)
    assert known[:4] == [None, measured, measured, measured]
    assert server.asked(under_test, MAIL, after=1.0) is None
    events = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert events == ["run times not read", "run times not read"]


def test_a_queue_whose_jobs_ended_over_an_hour_ago_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    server, under_test = Server(monkeypatch, answer("mail", 57), []), make()
    assert server.asked(under_test, MAIL) is not None
    assert server.asked(under_test, MAIL, after=ASK_SECONDS) is None


@pytest.mark.parametrize(
    ("error", "requests"), [(QueryError("error", "too many samples"), 2), (UnreadableError("timeout", ""), 1)]
)
def test_a_server_that_is_too_slow_is_not_asked_for_more(
    error: UnreadableError, requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [QueueKey("bull", f"q{number:03d}") for number in range(200)]
    server, under_test = Server(monkeypatch, error, answer("q150", 20)), make()
    known = server.asked(under_test, *keys)
    assert (len(server.queries), known is not None) == (requests, requests == 2)


def test_what_is_known_outlives_a_change_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    server, before, after = Server(monkeypatch, answer("mail", 57)), make(), make()
    server.asked(before, MAIL)
    after.continuing(before)
    assert server.asked(after, MAIL, after=5) == RunTimeP99("mail", 57.0)
    assert len(server.queries) == 1


@pytest.mark.fault
def test_without_room_for_a_thread_it_is_asked_again_in_the_next_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, under_test = Server(monkeypatch, answer("mail", 5)), make()
    with no_threads():
        assert server.asked(under_test, MAIL) is None
    assert server.asked(under_test, MAIL, after=1) is not None
