"""Queries Prometheus for the figures of the queues, at the first of its servers that has them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import wait
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any, Final, TypeAlias, TypeVar

from scaler.config.prometheus import MOST_QUERIES, PrometheusSettings, QuerySettings
from scaler.model import Missing, QueueSample
from scaler.prometheus.client import Server
from scaler.prometheus.parse import Labels, QueryError, Reading, matrix, read_answer, vector
from scaler.prometheus.promql import DEFAULT_QUERIES, QueueKey, explained
from scaler.prometheus.step_query import QueryAnswer, StepQuery, result_of, submit
from service.clock import Deadline, monotonic, now
from service.outcome import UnreadableError
from service.threads import backoff

log = logging.getLogger(__name__)

T = TypeVar("T")

QueriedQueues: TypeAlias = Mapping[QuerySettings, Iterable[QueueKey]]
"""The queues by the queries of their figures; without any: all queues."""

_GRACE_SECONDS: Final = 0.2
_NO_SERIES: Final = Missing("empty", "there is no such series")
_STALE_SECONDS: Final = 45.0  # three scrapes of 15 s: a server that is so far behind may be cut off
_CLEARLY_SECONDS: Final = 20.0  # two servers scrape at different times: a smaller difference is usual
_COMPARE_SECONDS: Final = 30.0  # between two comparisons in which no server had what is lacking
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


@dataclass(frozen=True, slots=True)
class Lack:
    """What an answer lacks: queues, by their queries (None: it has none at all), and the age of the newest
    sample in seconds."""

    missing: frozenset[tuple[QuerySettings, QueueKey | None]]
    age: float

    @property
    def stale(self) -> bool:
        return self.age > _STALE_SECONDS

    def __bool__(self) -> bool:
        return bool(self.missing) or self.stale

    def compared_with(self, other: Lack) -> str | None:
        """In what the other answer is clearly better; None: in nothing."""
        if len(other.missing) < len(self.missing) and other.age < self.age + _CLEARLY_SECONDS:
            return f"it lacks {len(self.missing) - len(other.missing)} queues that another server has"
        if len(other.missing) == len(self.missing) and other.age < self.age - _CLEARLY_SECONDS:
            return f"its metrics are {self.age - other.age:.0f} s older than those of another server"
        return None


class Observer:
    """Queries all queues at once. For one thread at a time; constructing it does not connect."""

    def __init__(self, settings: PrometheusSettings, queues: QueriedQueues) -> None:
        """Raises ValueError: more different queries than MOST_QUERIES."""
        if len(queues) > MOST_QUERIES:
            raise ValueError(f"{len(queues)} different `queries`: at most {MOST_QUERIES} are sent in a step")
        self._settings = settings
        self._servers = [_ServerState(Server(url, settings)) for url in settings.urls]
        self._queues = {queries: frozenset(keys) for queries, keys in queues.items()}
        self._step_queries = {
            queries: StepQuery.of(queries, settings.matchers, keys) for queries, keys in self._queues.items()
        }
        self._readings: dict[QuerySettings, Reading] = {}
        self._ahead = 0.0
        self._compared: tuple[Lack, float] | None = None
        self._logged_url: str | None = settings.urls[0]

    @property
    def requests(self) -> int:
        """HTTP requests so far."""
        return sum(state.server.requests for state in self._servers)

    def observe(self, deadline: Deadline) -> QueryResult:
        """The current figures. Never raises for a server: what could not be read is Missing."""
        time, began = now(), monotonic()
        try:
            best = self._best_answer(time, deadline)
        except UnreadableError as error:
            self._log_server_change(None, str(error))
            readings = dict.fromkeys(self._step_queries, Missing(error.kind, str(error)))
            return QueryResult(time, monotonic() - began, None, readings)
        for queries, reading in best.readings.items():
            if isinstance(reading, Reading):
                self._ahead = reading.ahead
                self._readings[queries] = reading
        self._log_server_change(best.server.server.url, "")
        return QueryResult(time, monotonic() - began, best.server.server.url, best.readings)

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
            series = self._first_healthy(query_range, deadline, seconds=deadline.remaining())
            for labels, points in series.items():
                series_by_labels.setdefault(labels, []).extend(points)
        return series_by_labels

    def instant(self, query: str, deadline: Deadline) -> list[Any]:
        """The series of a query now, as JSON data. Raises UnreadableError."""
        parameters = {"query": query, "timeout": f"{max(1.0, deadline.remaining()):.0f}s"}
        return self._first_healthy(
            lambda server, until: vector(server.request("query", parameters, until)),
            deadline,
            seconds=deadline.remaining(),
        )

    def close(self) -> None:
        """Close the connections."""
        for state in self._servers:
            state.server.close()

    def _best_answer(self, time: float, deadline: Deadline) -> _ServerAnswer:
        """That of the first server that lacks nothing, else of the one that lacks least.

        A server that lacks what another one has is queried after it for a while. Raises UnreadableError.
        """
        best: _ServerAnswer | None = None
        others: list[_ServerAnswer] = []
        for state, answers in self._answers(self._query, deadline, seconds=self._settings.timeout_seconds):
            answered_at = now()
            readings = {
                queries: self._read(queries, answer, time, answered_at) for queries, answer in answers.items()
            }
            answer = _ServerAnswer(state, readings, self._lack(readings, time))
            if best is None:
                best = answer
            elif best.lack.compared_with(answer.lack) is not None:
                others.append(best)
                best = answer
            else:
                others.append(answer)
            if not best.lack or not self._is_worth_comparing(best.lack):
                break
        else:
            self._compared = (best.lack, monotonic() + _COMPARE_SECONDS) if best is not None else None
        if best is None:
            raise UnreadableError("timeout", "no time left before the deadline")
        best.server.answered()
        for other in others:
            why = other.lack.compared_with(best.lack)
            other.server.answered() if why is None else other.server.failed(why)
        return best

    def _is_worth_comparing(self, lack: Lack) -> bool:
        """Whether other servers may have what is lacking: unless they just had as little."""
        if self._compared is None:
            return True
        compared, due = self._compared
        return monotonic() >= due or not lack.missing <= compared.missing or lack.stale > compared.stale

    def _lack(self, readings: Mapping[QuerySettings, Reading | Missing], time: float) -> Lack:
        """What these readings lack of the queues that are queried by name, or were there in the last ones."""
        missing: set[tuple[QuerySettings, QueueKey | None]] = set()
        newest: float | None = None
        for queries, reading in readings.items():
            samples = reading.samples if isinstance(reading, Reading) else {}
            there = [sample.at for sample in samples.values() if isinstance(sample, QueueSample)]
            before = self._readings.get(queries, Reading({})).samples
            expected = {key for key, sample in before.items() if isinstance(sample, QueueSample)}
            missing |= {
                (queries, key)
                for key in expected | self._queues[queries]
                if isinstance(sample := samples.get(key, _NO_SERIES), Missing) and sample.kind == "empty"
            }
            if not there:
                missing.add((queries, None))
            newest = max((at for at in (newest, *there) if at is not None), default=None)
        return Lack(frozenset(missing), inf if newest is None else time - newest)

    def _first_healthy(
        self, query: Callable[[Server, Deadline], T], deadline: Deadline, *, seconds: float
    ) -> T:
        """The answer of the first healthy server. Raises UnreadableError, see `_answers`."""
        state, answer = next(self._answers(query, deadline, seconds=seconds))
        state.answered()
        return answer

    def _answers(
        self, query: Callable[[Server, Deadline], T], deadline: Deadline, *, seconds: float
    ) -> Iterator[tuple[_ServerState, T]]:
        """The servers that answer, each with at most `seconds` to do so.

        Those that failed recently are queried only if no other one answers. Raises UnreadableError, that of
        the first server, if all fail.
        """
        healthy = [server for server in self._servers if server.is_due()]
        failing = [server for server in self._servers if server not in healthy]
        first_error: UnreadableError | None = None
        answered = False
        for index, state in enumerate((*healthy, *failing)):
            if answered and index >= len(healthy):
                return
            share = deadline.remaining() / max(1, len(healthy) - index)
            try:
                answer = query(state.server, deadline.at_most(min(seconds, share)))
            except QueryError:
                state.answered()
                if answered:
                    return
                raise
            except UnreadableError as error:
                state.failed(str(error))
                first_error = first_error or error
            else:
                answered = True
                yield state, answer
            if deadline.passed():
                break
        if not answered:
            raise first_error or UnreadableError("timeout", "no time left before the deadline")

    def _query(self, server: Server, deadline: Deadline) -> dict[QuerySettings, QueryAnswer]:
        """The answer to each query, or its error. Raises UnreadableError if all failed."""
        pending = {queries: submit(server, query, deadline) for queries, query in self._step_queries.items()}
        wait(pending.values(), deadline.remaining() + _GRACE_SECONDS)
        answers = {queries: result_of(future) for queries, future in pending.items()}
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

    def _read(
        self, queries: QuerySettings, answer: QueryAnswer, time: float, answered_at: float
    ) -> Reading | Missing:
        if isinstance(answer, UnreadableError):
            return Missing(answer.kind, explained(queries, str(answer)))
        try:
            return read_answer(
                answer,
                queries,
                queried_at=time,
                answered_at=answered_at,
                replica_labels=self._settings.replica_labels,
                before=self._before(queries),
            )
        except UnreadableError as error:
            return Missing(error.kind, str(error))

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


@dataclass(frozen=True, slots=True)
class _ServerAnswer:
    """What one server answered."""

    server: _ServerState
    readings: dict[QuerySettings, Reading | Missing]
    lack: Lack


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
