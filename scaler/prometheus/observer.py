"""The scaler's eyes: what Prometheus says of the queues, from the first of its servers that is well."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from scaler.model import Missing, QueueSample
from scaler.prometheus.client import Server
from scaler.prometheus.parse import Labels, QueryError, Reading, matrix, read_answer, vector
from scaler.prometheus.promql import OURS, QueueKey, explained, query_text
from scaler.prometheus.settings import MOST_QUERIES, PrometheusSettings, QuerySettings
from service.clock import Deadline, monotonic, now
from service.outcome import UnreadableError
from service.threads import backoff

log = logging.getLogger(__name__)

T = TypeVar("T")

QueriedQueues: TypeAlias = Mapping[QuerySettings, Iterable[QueueKey]]
"""The queues that each kind of figures is wanted of."""

_GRACE: Final = 0.2
_MOST_POINTS: Final = 10_000  # Prometheus refuses more than 11,000 a series


@dataclass(frozen=True)
class QueryResult:
    """What one look told. `time` is when it began (unix seconds), `took` its seconds, `url` the server that
    answered, None if none did."""

    time: float
    took: float
    url: str | None
    readings: Mapping[QuerySettings, Reading | Missing]

    def of(
        self, queues: Iterable[QueueKey], queries: QuerySettings = OURS
    ) -> dict[QueueKey, QueueSample | Missing]:
        """Each queue's sample, or why there is none."""
        reading = self.readings[queries]
        return {key: reading if isinstance(reading, Missing) else reading.of(key) for key in queues}

    def age(self) -> float | None:
        """Seconds since the scrape of the oldest sample; None without any."""
        samples = [
            one.at
            for reading in self.readings.values()
            if isinstance(reading, Reading)
            for one in reading.samples.values()
            if isinstance(one, QueueSample)
        ]
        return self.time - min(samples) if samples else None


class Observer:
    """Looks at all queues at once. For one thread at a time; constructing it connects to nothing."""

    def __init__(self, settings: PrometheusSettings, wanted: QueriedQueues) -> None:
        """Raises ValueError: more kinds of figures than MOST_QUERIES."""
        if len(wanted) > MOST_QUERIES:
            raise ValueError(f"{len(wanted)} different `queries`: at most {MOST_QUERIES} are asked in a step")
        self._settings = settings
        self._servers = [_Candidate(Server(url, settings)) for url in settings.urls]
        self._wanted = {queries: frozenset(keys) for queries, keys in wanted.items()}
        self._texts = {
            queries: query_text(queries, settings.matchers, {key.name for key in keys})
            for queries, keys in self._wanted.items()
        }
        self._kept: dict[QuerySettings, Mapping[QueueKey, Labels]] = {}
        self._ahead = 0.0
        self._told: str | None = settings.urls[0]

    @property
    def requests(self) -> int:
        """HTTP requests so far."""
        return sum(one.server.requests for one in self._servers)

    def look(self, deadline: Deadline) -> QueryResult:
        """All figures of now. Never raises for a server: what it does not tell is Missing."""
        time, began = now(), monotonic()
        readings: dict[QuerySettings, Reading | Missing]
        url, why = None, ""
        try:
            url, answers = self._first(self._ask, deadline, seconds=self._settings.timeout_seconds)
            readings = {queries: self._read(queries, answer, time) for queries, answer in answers.items()}
        except UnreadableError as error:
            why = str(error)
            readings = {queries: Missing(error.kind, why) for queries in self._texts}
        self._tell(url, why)
        return QueryResult(time, monotonic() - began, url, readings)

    def range(
        self, query: str, start: float, end: float, step: float, deadline: Deadline
    ) -> dict[Labels, list[tuple[float, float]]]:
        """Each series of a query over a time in unix seconds, every `step` seconds, both ends included, as
        pairs (time, value); what is not finite is left out. Raises UnreadableError."""
        if step <= 0 or end < start:
            raise ValueError("a range needs a step above 0 and an end after its start")
        found: dict[Labels, list[tuple[float, float]]] = {}
        steps = int((end - start) / step + 1e-9)
        for first in range(0, steps + 1, _MOST_POINTS):
            last = min(first + _MOST_POINTS - 1, steps)
            asked = {
                "query": query,
                "start": f"{start + first * step:.3f}",
                "end": f"{start + last * step:.3f}",
                "step": f"{step:.3f}",
            }
            ask = partial(self._ask_range, asked)
            _, series = self._first(ask, deadline, seconds=deadline.remaining())
            for labels, points in series.items():
                found.setdefault(labels, []).extend(points)
        return found

    def close(self) -> None:
        """Let go of the connections."""
        for one in self._servers:
            one.server.close()

    def _first(
        self, ask: Callable[[Server, Deadline], T], deadline: Deadline, *, seconds: float
    ) -> tuple[str, T]:
        """The URL and the answer of the first server that is well, each asked for at most `seconds`.

        Those that failed lately come last. Raises UnreadableError, the first server's, if none is well.
        """
        well = [one for one in self._servers if one.is_due()]
        problem: UnreadableError | None = None
        for place, one in enumerate((*well, *(one for one in self._servers if one not in well))):
            share = deadline.remaining() / max(1, len(well) - place)
            try:
                answer = ask(one.server, deadline.at_most(min(seconds, share)))
            except QueryError:
                one.answered()
                raise
            except UnreadableError as error:
                one.failed(str(error))
                problem = problem or error
            else:
                one.answered()
                return one.server.url, answer
            if deadline.passed():
                break
        raise problem or UnreadableError("timeout", "no time was left to ask")

    def _ask(self, server: Server, until: Deadline) -> dict[QuerySettings, _Answer]:
        """Each question's answer, or why there is none. Raises UnreadableError where all are without."""
        asked = {queries: _begin(server, text, until) for queries, text in self._texts.items()}
        wait(asked.values(), until.remaining() + _GRACE)
        answers = {queries: _ended(one) for queries, one in asked.items()}
        problems = [one for one in answers.values() if isinstance(one, UnreadableError)]
        if (
            problems
            and len(problems) == len(answers)
            and not any(isinstance(one, QueryError) for one in problems)
        ):
            raise problems[0]
        return answers

    def _ask_range(
        self, asked: Mapping[str, str], server: Server, until: Deadline
    ) -> dict[Labels, list[tuple[float, float]]]:
        return matrix(server.ask("query_range", asked, until))

    def _read(self, queries: QuerySettings, answer: _Answer, time: float) -> Reading | Missing:
        if isinstance(answer, UnreadableError):
            return Missing(answer.kind, explained(queries, str(answer)))
        try:
            reading = read_answer(
                answer,
                queries,
                asked_at=time,
                replica_labels=self._settings.replica_labels,
                kept=self._kept.get(queries),
                ahead=self._ahead,
            )
        except UnreadableError as error:
            return Missing(error.kind, str(error))
        self._ahead = reading.ahead
        kept = self._kept.get(queries, {})
        # A queue that is unseen for a while keeps its exporter, or another's counters would seem to go on.
        unseen = (self._wanted[queries] & kept.keys()) - reading.origins.keys()
        self._kept[queries] = {**reading.origins, **{key: kept[key] for key in unseen}}
        return reading

    def _tell(self, url: str | None, why: str) -> None:
        """One line for each change of the server that answers."""
        if url == self._told:
            return
        self._told = url
        first = self._servers[0]
        if url is None:
            log.error("no Prometheus answers", extra={"reason": why})
        elif url == first.server.url:
            log.info("Prometheus answers again", extra={"url": url})
        else:
            log.warning("another Prometheus is asked", extra={"url": url, "reason": first.problem})


_Answer: TypeAlias = dict[str, Any] | UnreadableError


class _Candidate:
    """A server and how it did: one that failed is asked last for a while, so that a server that hangs costs
    its time only now and then."""

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


def _begin(server: Server, text: str, until: Deadline) -> Future[_Answer]:
    """Ask in a thread. A daemon: the look-up of a name is bounded by nothing that is ours."""
    answer: Future[_Answer] = Future()
    threading.Thread(target=_run, args=(server, text, until, answer), name="prometheus", daemon=True).start()
    return answer


def _run(server: Server, text: str, until: Deadline, answer: Future[_Answer]) -> None:
    try:
        document = server.ask("query", {"query": text}, until)
        vector(document)
        answer.set_result(document)
    except UnreadableError as error:
        answer.set_result(error)
    except BaseException as error:  # noqa: BLE001  # whoever waits shall see it
        answer.set_exception(error)


def _ended(answer: Future[_Answer]) -> _Answer:
    return (
        answer.result() if answer.done() else UnreadableError("timeout", "Prometheus did not answer in time")
    )
