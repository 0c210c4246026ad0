"""How long the slowest jobs of queues run: asked every five minutes in a thread of its own, so that no step
waits for the buckets of an hour."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from functools import partial
from threading import Thread
from typing import Final, Self

from scaler.config.prometheus import PrometheusSettings
from scaler.model import RunTimeP99
from scaler.prometheus.histogram import run_time_p99s, run_time_query
from scaler.prometheus.observer import Observer
from scaler.prometheus.parse import QueryError
from scaler.prometheus.promql import DEFAULT_QUERIES, MAX_NAMES, QueueKey
from service.clock import Deadline, monotonic
from service.logs import ProblemLog
from service.outcome import UnreadableError
from service.threads import NoThreadError, start_thread

log = logging.getLogger(__name__)

ASK_SECONDS: Final = 300.0
"""Seconds between two times that Prometheus is asked."""
_KEPT_SECONDS: Final = 3 * ASK_SECONDS  # two times without an answer are no change of what an hour shows
_QUERY_SECONDS: Final = 10.0  # of each query


class RunTimes:
    """For one thread; constructing it does not connect. What was not answered for a quarter of an hour is not
    known."""

    def __init__(self, settings: PrometheusSettings) -> None:
        self._settings = settings
        self._measured: dict[QueueKey, tuple[float, float]] = {}  # when it was asked, and the seconds
        self._asked: float | None = None
        self._thread: Thread | None = None
        self._problem = ProblemLog(log, "run times not read", "run times read again")

    def continuing(self, before: Self) -> None:
        """With what `before` knows, after a change of the settings."""
        self._measured, self._asked, self._problem = before._measured, before._asked, before._problem

    def ask(self, keys: Collection[QueueKey]) -> None:
        """Begin to ask for these queues, unless it was done lately or is still being done. Never waits."""
        time, busy = monotonic(), self._thread is not None and self._thread.is_alive()
        if not keys or busy or (self._asked is not None and time - self._asked < ASK_SECONDS):
            return
        try:
            # A daemon: the resolution of a host name has no time-out of ours.
            self._thread = start_thread(partial(self._run, frozenset(keys), time), "run times")
        except NoThreadError as error:
            self._problem.report(str(error))
        else:
            self._asked = time

    def longest(self, keys: Iterable[QueueKey]) -> RunTimeP99 | None:
        """Of that of these queues whose jobs take longest; None: not known of any."""
        if not self._measured:
            return None
        since = monotonic() - _KEPT_SECONDS
        known = [
            (self._measured[key][1], key.name)
            for key in keys
            if key in self._measured and self._measured[key][0] >= since
        ]
        if not known:
            return None
        seconds, name = max(known)
        return RunTimeP99(name, seconds)

    def close(self, seconds: float = 0.0) -> None:
        """Wait at most these seconds for an answer."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self, keys: frozenset[QueueKey], time: float) -> None:
        known = {
            key: measured for key, measured in self._measured.items() if measured[0] > time - _KEPT_SECONDS
        }
        observer, problem = Observer(self._settings, {DEFAULT_QUERIES: ()}), ""
        ordered = sorted(keys, key=lambda key: key.name)
        for first in range(0, len(ordered), MAX_NAMES):
            chunk = ordered[first : first + MAX_NAMES]
            query = run_time_query({key.name for key in chunk}, self._settings.matchers)
            try:
                p99s = run_time_p99s(observer.instant(query, Deadline.after(_QUERY_SECONDS)))
            except UnreadableError as error:
                problem = problem or str(error)
                if not isinstance(error, QueryError):  # the next query would only add to its load
                    break
            else:
                known = {key: measured for key, measured in known.items() if key not in chunk}
                known |= {key: (time, p99s[key]) for key in chunk if key in p99s}
        observer.close()
        self._measured = known
        self._problem.report(problem)
