"""Queries Prometheus for the figures of the queues, at the first of its servers that answers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from scaler.config.prometheus import MOST_QUERIES, PrometheusSettings, QuerySettings
from scaler.model import Missing, QueueSample
from scaler.prometheus.client import Server
from scaler.prometheus.parse import Labels, QueryError, Reading, matrix, read_answer, vector
from scaler.prometheus.promql import DEFAULT_QUERIES, QueueKey, explained, query_text
from service.clock import Deadline, monotonic, now
from service.outcome import UnreadableError
from service.threads import backoff

log = logging.getLogger(__name__)

T = TypeVar("T")

QueriedQueues: TypeAlias = Mapping[QuerySettings, Iterable[QueueKey]]
"""The queues by the queries of their figures; without any: all queues."""

_GRACE_SECONDS: Final = 0.2
_MAX_POINTS: Final = 10_000  # Prometheus refuses more than 11,000 a series


@dataclass(frozen=True)
class QueryResult:
    """The result of one observation. `time` is when it began (unix seconds), `took` its seconds, `url` the
    server that answered, None if none did."""

    time: float
    took: float
    url: str | None
    readings: Mapping[QuerySettings, Reading | Missing]

    def of(
        self, queues: Iterable[QueueKey], queries: QuerySettings = DEFAULT_QUERIES
    ) -> dict[QueueKey, QueueSample | Missing]:
        """Each queue's sample, or Missing, which says why there is none."""
        reading = self.readings[queries]
        return {key: reading if isinstance(reading, Missing) else reading.of(key) for key in queues}

    def age(self) -> float | None:
        """Seconds since the scrape of the oldest sample; None without samples."""
        samples = [
            sample.at
            for reading in self.readings.values()
            if isinstance(reading, Reading)
            for sample in reading.samples.values()
            if isinstance(sample, QueueSample)
        ]
        return self.time - min(samples) if samples else None


class Observer:
    """Queries all queues at once. For one thread at a time; constructing it does not connect."""

    def __init__(self, settings: PrometheusSettings, queues: QueriedQueues) -> None:
        """Raises ValueError: more different queries than MOST_QUERIES."""
        if len(queues) > MOST_QUERIES:
            raise ValueError(f"{len(queues)} different `queries`: at most {MOST_QUERIES} are sent in a step")
        self._settings = settings
        self._servers = [_ServerState(Server(url, settings)) for url in settings.urls]
        self._queues = {queries: frozenset(keys) for queries, keys in queues.items()}
        self._texts = {
            queries: query_text(queries, settings.matchers, {key.name for key in keys})
            for queries, keys in self._queues.items()
        }
        self._readings: dict[QuerySettings, Reading] = {}
        self._ahead = 0.0
        self._logged_url: str | None = settings.urls[0]

    @property
    def requests(self) -> int:
        """HTTP requests so far."""
        return sum(state.server.requests for state in self._servers)

    def observe(self, deadline: Deadline) -> QueryResult:
        """The current figures. Never raises for a server: what could not be read is Missing."""
        time, began = now(), monotonic()
        readings: dict[QuerySettings, Reading | Missing]
        url, why = None, ""
        try:
            url, answers = self._first_healthy(self._query, deadline, seconds=self._settings.timeout_seconds)
            readings = {queries: self._read(queries, answer, time) for queries, answer in answers.items()}
        except UnreadableError as error:
            why = str(error)
            readings = {queries: Missing(error.kind, why) for queries in self._texts}
        self._log_server_change(url, why)
        return QueryResult(time, monotonic() - began, url, readings)

    def range(
        self, query: str, start: float, end: float, step: float, deadline: Deadline
    ) -> dict[Labels, list[tuple[float, float]]]:
        """Each series of a query over a time in unix seconds, every `step` seconds, both ends included, as
        pairs (time, value); values that are not finite are left out. Raises UnreadableError."""
        if step <= 0 or end < start:
            raise ValueError("a range needs a step above 0 and an end after its start")
        series_by_labels: dict[Labels, list[tuple[float, float]]] = {}
        steps = int((end - start) / step + 1e-9)
        for first in range(0, steps + 1, _MAX_POINTS):
            last = min(first + _MAX_POINTS - 1, steps)
            parameters = {
                "query": query,
                "start": f"{start + first * step:.3f}",
                "end": f"{start + last * step:.3f}",
                "step": f"{step:.3f}",
            }
            query_range = partial(self._query_range, parameters)
            _, series = self._first_healthy(query_range, deadline, seconds=deadline.remaining())
            for labels, points in series.items():
                series_by_labels.setdefault(labels, []).extend(points)
        return series_by_labels

    def close(self) -> None:
        """Close the connections."""
        for state in self._servers:
            state.server.close()

    def _first_healthy(
        self, query: Callable[[Server, Deadline], T], deadline: Deadline, *, seconds: float
    ) -> tuple[str, T]:
        """The URL and the answer of the first healthy server, each with at most `seconds` to answer.

        Those that failed recently come last. Raises UnreadableError, that of the first server, if all fail.
        """
        healthy = [server for server in self._servers if server.is_due()]
        failing = [server for server in self._servers if server not in healthy]
        first_error: UnreadableError | None = None
        for index, state in enumerate((*healthy, *failing)):
            share = deadline.remaining() / max(1, len(healthy) - index)
            try:
                answer = query(state.server, deadline.at_most(min(seconds, share)))
            except QueryError:
                state.answered()
                raise
            except UnreadableError as error:
                state.failed(str(error))
                first_error = first_error or error
            else:
                state.answered()
                return state.server.url, answer
            if deadline.passed():
                break
        raise first_error or UnreadableError("timeout", "no time left before the deadline")

    def _query(self, server: Server, deadline: Deadline) -> dict[QuerySettings, _Answer]:
        """The answer to each query, or its error. Raises UnreadableError if all failed."""
        pending = {queries: _submit(server, text, deadline) for queries, text in self._texts.items()}
        wait(pending.values(), deadline.remaining() + _GRACE_SECONDS)
        answers = {queries: _result_of(future) for queries, future in pending.items()}
        errors = [answer for answer in answers.values() if isinstance(answer, UnreadableError)]
        if (
            errors
            and len(errors) == len(answers)
            and not any(isinstance(error, QueryError) for error in errors)
        ):
            raise errors[0]
        return answers

    def _query_range(
        self, parameters: Mapping[str, str], server: Server, deadline: Deadline
    ) -> dict[Labels, list[tuple[float, float]]]:
        return matrix(server.request("query_range", parameters, deadline))

    def _read(self, queries: QuerySettings, answer: _Answer, time: float) -> Reading | Missing:
        if isinstance(answer, UnreadableError):
            return Missing(answer.kind, explained(queries, str(answer)))
        try:
            reading = read_answer(
                answer,
                queries,
                queried_at=time,
                replica_labels=self._settings.replica_labels,
                before=self._before(queries),
            )
        except UnreadableError as error:
            return Missing(error.kind, str(error))
        self._ahead = reading.ahead
        self._readings[queries] = reading
        return reading

    def _before(self, queries: QuerySettings) -> Reading:
        """The former reading, with the clock offset of the last reading of any queries."""
        return replace(self._readings.get(queries, Reading({})), ahead=self._ahead)

    def _log_server_change(self, url: str | None, why: str) -> None:
        """Log each change of the server that answers."""
        if url == self._logged_url:
            return
        self._logged_url = url
        first = self._servers[0]
        if url is None:
            log.error("no Prometheus server answers", extra={"reason": why})
        elif url == first.server.url:
            log.info("Prometheus recovered", extra={"url": url})
        else:
            log.warning("failed over to another Prometheus", extra={"url": url, "reason": first.problem})


_Answer: TypeAlias = dict[str, Any] | UnreadableError


class _ServerState:
    """A server and its backoff: one that failed is queried last for a while, so that a server that hangs
    costs time only occasionally."""

    def __init__(self, server: Server) -> None:
        self.server: Final = server
        self.problem = ""
        self._failures = 0
        self._due = 0.0

    def is_due(self) -> bool:
        return not self._failures or monotonic() >= self._due

    def answered(self) -> None:
        self._failures = 0

    def failed(self, problem: str) -> None:
        self.problem = problem
        self._failures += 1
        self._due = monotonic() + backoff(self._failures)


def _submit(server: Server, text: str, deadline: Deadline) -> Future[_Answer]:
    """Query in a thread. A daemon: the resolution of a host name has no time-out of ours."""
    answer: Future[_Answer] = Future()
    threading.Thread(
        target=_run_query, args=(server, text, deadline, answer), name="prometheus", daemon=True
    ).start()
    return answer


def _run_query(server: Server, text: str, deadline: Deadline, answer: Future[_Answer]) -> None:
    try:
        document = server.request("query", {"query": text}, deadline)
        vector(document)
        answer.set_result(document)
    except UnreadableError as error:
        answer.set_result(error)
    except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
        answer.set_exception(error)


def _result_of(answer: Future[_Answer]) -> _Answer:
    return (
        answer.result() if answer.done() else UnreadableError("timeout", "Prometheus did not answer in time")
    )
