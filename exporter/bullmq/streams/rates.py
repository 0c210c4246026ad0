"""Rates and quantiles of the last minutes, from the same counters and histograms as /metrics. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import Final, NamedTuple, TypeVar

from exporter.snapshot.queues import Events, JobCounters, QueueId, QueueRates, Rates, Window, durations_of

WINDOW: Final = 300.0
"""Seconds that rates and quantiles cover, once the history is long enough."""
HOUR: Final = 3600.0
_WINDOW_STEP: Final = 15.0  # seconds between two samples of the window
_HOUR_STEP: Final = 120.0  # seconds between two samples of the hour
_MIN_SECONDS: Final = 10.0  # the shortest time that a rate may cover
_NOTHING_MISSING: Final = (0, 0, 0)
_new_tuple: Final = tuple.__new__  # in a third of the time of `Rates(...)`


class _Sample(NamedTuple):
    """What a queue had counted from `at` on, until the next sample: a queue of which nothing changes has one.
    `durations` as `durations_of` packs them, and `missing` in the counters."""

    at: float
    completed: int
    failed: int
    durations: bytes
    missing: tuple[int, int, int]


class _Totals(NamedTuple):
    """The same in the history of an hour."""

    at: float
    failed: int
    lost: int
    completed: int
    stalled: int
    retried: int = 0


class _History(NamedTuple):
    """One queue's samples, the oldest first, all since the same start of its counters. `began`: the time of
    the first, `hour_at`: the last time at which the hour's were compared; `latest`: the counters then."""

    since: float
    began: float
    hour_at: float
    latest: JobCounters
    window: tuple[_Sample, ...] = ()
    hour: tuple[_Totals, ...] = ()


class _Constant(NamedTuple):
    """What the rates of a queue follow from besides the time, while its history and its events are these: how
    many jobs completed and failed in the window (None: not known), and the fields of `Rates` that follow."""

    history: _History
    counters: JobCounters
    missing: tuple[int, int, int]
    completed: int | None
    failed: int | None
    others: tuple[object, ...]
    lively: bool
    """Whether a figure is not 0, or not known."""


class _Recorded(NamedTuple):
    """The times of the window, of which the first is its beginning, and the queues. Replaced as a whole."""

    times: tuple[float, ...]
    queues: Mapping[QueueId, _History]


class RateHistory:
    """At most 22 samples of a queue for the window and 32 for the hour, however often `record` is called.

    The times of the window are the same for all queues; of each queue only the samples that differ from the
    one before are kept.
    """

    def __init__(self) -> None:
        self._recorded = _Recorded((), {})
        self._constants: dict[QueueId, _Constant] = {}
        self._rated: _Recorded | None = None  # what they are of
        self._seen: Mapping[QueueId, Events] = {}
        self._young: set[QueueId] = set()  # which were known for too short a time

    def due(self, at: float) -> bool:
        """Whether it is time for the next sample."""
        times = self._recorded.times
        return not times or at - times[-1] >= _WINDOW_STEP

    def record(self, at: float, events: Mapping[QueueId, Events], *, unix: float = inf) -> None:
        """Take a sample at `at` (monotonic s), `unix` in unix s. Queues not in `events` are forgotten.

        Counters that began within the hour have all that they count from it: a queue that is new to us may
        have had failures before its first sample. Without `unix` they may be of any age.
        """
        if not self.due(at):
            return
        times, before = self._recorded
        # One time older than the window stays: a rate covers the whole window.
        times = (*times, at)
        while len(times) > 1 and times[1] <= at - WINDOW:
            times = times[1:]
        self._recorded = _Recorded(
            times, {queue: _extended(before.get(queue), at, latest, unix) for queue, latest in events.items()}
        )

    def rates(self, at: float, events: Mapping[QueueId, Events]) -> FollowedRates:
        """The rates at `at` of the queues that have been known long enough."""
        recorded, before, constants = self._recorded, self._seen, dict(self._constants)
        times, histories = recorded
        changed: Iterable[tuple[QueueId, Events]] = events.items()
        if recorded is self._rated:
            changed = [item for item in changed if before.get(item[0]) is not item[1]]
        for queue in constants.keys() - events.keys():
            del constants[queue]
        for queue, latest in changed:
            history, constant = histories.get(queue), constants.get(queue)
            if history is None or history.since != latest.since:
                constants.pop(queue, None)
            elif (
                constant is None
                or constant.history is not history
                or constant.counters is not latest.counters
                or constant.missing != (latest.lost, latest.undone, latest.gaps)
            ):
                constants[queue] = _constant(history, latest)
                self._young.add(queue)
        self._constants, self._seen, self._rated = constants, events, recorded
        self._young = {
            queue
            for queue in self._young
            if queue in constants and at - constants[queue].history.began < _MIN_SECONDS
        }
        if not times or at - times[0] < _MIN_SECONDS:
            return FollowedRates({}, at, at)
        if self._young:
            constants = {queue: each for queue, each in constants.items() if queue not in self._young}
        return FollowedRates(constants, at, times[0])


class FollowedRates(QueueRates):
    """The rates at one time. They are made of what does not change with time when they are asked for."""

    def __init__(self, constants: Mapping[QueueId, _Constant], at: float, begin: float) -> None:
        self._constants = constants
        self._at = at
        self._begin = begin

    def __getitem__(self, queue: QueueId) -> Rates:
        return self._rates(self._constants[queue])

    def __iter__(self) -> Iterator[QueueId]:
        return iter(self._constants)

    def __len__(self) -> int:
        return len(self._constants)

    def __contains__(self, queue: object) -> bool:
        return queue in self._constants

    def lively(self) -> Iterator[tuple[QueueId, Rates]]:
        for queue, constant in self._constants.items():
            if constant.lively:
                yield queue, self._rates(constant)

    def _rates(self, constant: _Constant) -> Rates:
        history, _, _, completed, failed, others, _ = constant
        seconds = self._at - max(self._begin, history.began)
        return _new_tuple(
            Rates,
            (
                seconds,
                None if completed is None else completed * 60 / seconds,
                None if failed is None else failed * 60 / seconds,
                *others,
            ),
        )


def _extended(history: _History | None, at: float, events: Events, unix: float) -> _History:
    now = events.counters
    if history is None or history.since != events.since:
        history = _History(events.since, at, -inf, now)
        if 0 <= unix - events.since < HOUR:
            began = at - (unix - events.since)
            history = history._replace(hour_at=began, hour=(_Totals(began, 0, 0, 0, 0),))
    since, began, hour_at, latest, window, hour = history
    missing = _missing(events)
    if not window or now is not latest or missing != window[-1].missing:
        window = (*window, _Sample(at, now.completed, now.failed, durations_of(now), missing))
    if at - hour_at >= _HOUR_STEP:
        hour_at = at
        totals = _Totals(at, now.failed, events.lost, now.completed, now.stalled, now.retried)
        if not hour or hour[-1][1:] != totals[1:]:
            hour = (*hour, totals)
        hour = _since(hour, at - HOUR)
    window = _since(window, at - WINDOW)
    if now is latest and window is history.window and hour is history.hour and hour_at == history.hour_at:
        return history  # one object while nothing changes
    return _History(since, began, hour_at, now, window, hour)


_Samples = TypeVar("_Samples", _Sample, _Totals)


def _since(samples: tuple[_Samples, ...], begin: float) -> tuple[_Samples, ...]:
    """Those that were of this time or came later."""
    first = 0
    while first + 1 < len(samples) and samples[first + 1].at <= begin:
        first += 1
    return samples[first:]  # all of them: the same object


def _constant(history: _History, events: Events) -> _Constant:
    before = history.window[0]
    now, oldest, missing = events.counters, history.hour[0], _missing(events)
    completed, failed = now.completed - before.completed, now.failed - before.failed
    ended = completed + failed
    # Else jobs ended that are not in the counters, nobody knows how many.
    whole = before.missing == missing
    last_hour = (
        now.failed - oldest.failed,
        events.lost - oldest.lost,
        now.completed - oldest.completed,
        now.stalled - oldest.stalled,
        now.retried - oldest.retried,
    )
    window = Window(before.durations, now, still=len(history.window) == 1 and now is history.latest)
    return _Constant(
        history,
        now,
        missing,
        completed if whole else None,
        failed if whole else None,
        (failed / ended if ended and whole else None, *last_hour, window),
        lively=not (whole and window.still) or any(last_hour),
    )


def _missing(events: Events) -> tuple[int, int, int]:
    """What changes when the counters are no longer all that happened, or more than that."""
    if events.lost or events.undone or events.gaps:
        return events.lost, events.undone, events.gaps
    return _NOTHING_MISSING
