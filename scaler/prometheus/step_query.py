"""One query of a step: sent in a thread, whole or in pieces where a server does not take so long a text, and
with native histograms where it has such."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeAlias

from scaler.config.prometheus import QuerySettings
from scaler.prometheus.client import LIMIT, Server, limit_for
from scaler.prometheus.exporter_series import exporter_queries, without_native_series
from scaler.prometheus.parse import QueryError, vector
from scaler.prometheus.promql import QueueKey, query_text
from service.clock import Deadline
from service.outcome import UnreadableError
from service.threads import NoThreadError, start_thread

log = logging.getLogger(__name__)

QueryAnswer: TypeAlias = dict[str, Any] | UnreadableError


@dataclass(frozen=True, slots=True)
class StepQuery:
    """A text, and the same in pieces; no pieces: it is short. `native`: that with the figures of native
    histograms too; None: it asks for no histograms of ours, or is that. `limit`: bytes of its answer."""

    whole: str
    pieces: tuple[str, ...] = ()
    native: StepQuery | None = None
    limit: int = LIMIT

    @classmethod
    def of(cls, queries: QuerySettings, matchers: Mapping[str, str], queues: frozenset[QueueKey]) -> Self:
        """The query for the figures of these queues; without any, of all."""
        names = {key.name for key in queues}
        limit = limit_for(len(queues))
        if not queries.is_default:
            return cls(query_text(queries, matchers, names), limit=limit)
        label = queries.queue_label
        native = cls(*exporter_queries(label, matchers, names, native=True), limit=limit)
        return cls(*exporter_queries(label, matchers, names), native, limit)


def submit(server: Server, query: StepQuery, deadline: Deadline) -> Future[QueryAnswer]:
    """Query in a thread. A daemon: the resolution of a host name has no time-out of ours."""
    answer: Future[QueryAnswer] = Future()
    try:
        start_thread(partial(_run, server, query, deadline, answer), "prometheus")
    except NoThreadError as error:
        answer.set_result(UnreadableError("error", f"{server.url}: not asked, {error}"))
    return answer


def result_of(answer: Future[QueryAnswer]) -> QueryAnswer:
    return (
        answer.result() if answer.done() else UnreadableError("timeout", "Prometheus did not answer in time")
    )


def _run(server: Server, query: StepQuery, deadline: Deadline, answer: Future[QueryAnswer]) -> None:
    try:
        answer.set_result(_answer(server, query, deadline))
    except UnreadableError as error:
        answer.set_result(error)
    except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
        answer.set_exception(error)


def _answer(server: Server, query: StepQuery, deadline: Deadline) -> dict[str, Any]:
    """Raises UnreadableError."""
    if query.native is None:
        return _asked(server, query, deadline)
    if not server.has_native_histograms:
        document = _asked(server, query, deadline)
        series, found = without_native_series(document["data"]["result"])
        document = {**document, "data": {**document["data"], "result": series}}
        if not found or server.has_native_histograms is False:
            return document
        server.has_native_histograms = True
    try:
        return _asked(server, query.native, deadline)
    except QueryError as error:
        server.has_native_histograms = False
        log.warning("run times of native histograms are not known", extra={"reason": str(error)})
    return _answer(server, query, deadline)


def _asked(server: Server, query: StepQuery, deadline: Deadline) -> dict[str, Any]:
    """Raises UnreadableError."""
    if query.pieces and server.takes_long_queries is False:
        return _in_pieces(server, query, deadline)
    try:
        document = _request(server, query.whole, deadline, query.limit)
    except UnreadableError as error:
        if not query.pieces or server.takes_long_queries or error.kind != "error":
            raise
        document = _in_pieces(server, query, deadline)
        server.takes_long_queries = False
    else:
        if query.pieces:
            server.takes_long_queries = True
    return document


def _in_pieces(server: Server, query: StepQuery, deadline: Deadline) -> dict[str, Any]:
    """The answers as one: those after the first are evaluated at its time. Raises UnreadableError."""
    document: dict[str, Any] = {}
    series: list[Any] = []
    for piece in query.pieces:
        time = _time_of(series)
        parameters = {} if time is None else {"time": f"{time:.3f}"}
        document = _request(server, piece, deadline, query.limit, **parameters)
        series += vector(document)
    return {**document, "data": {**document["data"], "result": series}}


def _request(server: Server, text: str, deadline: Deadline, limit: int, **parameters: str) -> dict[str, Any]:
    document = server.request("query", {"query": text, **parameters}, deadline, limit=limit)
    vector(document)
    return document


def _time_of(series: list[Any]) -> float | None:
    """When the query was evaluated; None: no series has it."""
    try:
        return float(series[0]["value"][0])
    except (IndexError, KeyError, TypeError, ValueError, OverflowError):
        return None
