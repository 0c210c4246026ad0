"""How many jobs arrive and how long they run, estimated from counts and totals. Pure.

Arrivals are the balance of the queue: the jobs that ended since the last sample, plus the growth of the jobs
inside (waiting and active). So retries and delayed jobs count when they become work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scaler.model import QueueSample
from service.quantiles import quantile

_SERVICE_HALF_LIFE: Final = 300.0
_SERVICE_RUNS: Final = 3.0  # longer for long jobs: so many times their service time
_LEVEL_HALF_LIFE: Final = 90.0
_FAST_HALF_LIFE: Final = 15.0
_UNKNOWN_SERVICE: Final = 1.0  # seconds, until a job has ended
_REMEMBERED: Final = 3600.0
_WITHOUT_TOTALS: Final = 300.0  # seconds; a scrape may lack them, such as when another exporter takes over
_ERROR_QUANTILE: Final = 0.9
_UNTRIED_ERROR: Final = 0.5  # of a forecast that was not tested yet
_PEAK_QUANTILE: Final = 0.98
TRIED: Final = 8
"""Windows after which the errors and the peak of this queue are known."""


@dataclass(frozen=True, slots=True)
class Window:
    """The mean rate (jobs/s) of a horizon of seconds that ended at `end`, and what was forecast for it."""

    end: float
    rate: float
    forecast: float


@dataclass(frozen=True, slots=True)
class Flow:
    """The estimated work of a queue; rates in jobs/s.

    `level` and `fast` are exponential averages with half-lives of 90 and 15 s. `busy` (slot-seconds) and
    `done` (jobs) have a half-life of 5 minutes, longer for long jobs. `begun`, `came` (jobs that arrived) and
    `forecast` belong to the current window. `error`: by how much windows of the last hour exceeded their
    forecast, relative to it (0.9-quantile); `peak`: the 0.98-quantile of their rates.
    """

    at: float
    ended: float
    inside: float
    active: float
    level: float | None = None
    fast: float = 0.0
    busy: float = 0.0
    done: float = 0.0
    begun: float = 0.0
    came: float = 0.0
    forecast: float = 0.0
    windows: tuple[Window, ...] = ()
    error: float = _UNTRIED_ERROR
    peak: float = 0.0

    @property
    def rate(self) -> float:
        """Jobs per second that arrive now: the faster average, as it rises first, never below the level."""
        return max(self.level or 0.0, self.fast)

    @property
    def service(self) -> float:
        """Service time of a job in seconds: busy slot-seconds divided by jobs that ended (Little's law).

        When many jobs began at once, the first to end say little about the others: half of these count as
        ended.
        """
        ended = max(self.done, self.active / 2)
        return self.busy / ended if ended >= 1 and self.busy > 0 else _UNKNOWN_SERVICE

    @property
    def tried(self) -> bool:
        """Whether there are enough windows to know the errors and the peak."""
        return len(self.windows) >= TRIED


_SAME_MOMENT: Final = 1e-3  # the resolution of Prometheus; a rate over less could be infinite


def update_flow(flow: Flow | None, sample: QueueSample, horizon: float) -> Flow | None:
    """The flow after this sample; None without totals of ended jobs, or if they were missing for minutes.

    `horizon` in seconds.
    """
    if sample.completed is None or sample.failed is None:
        return flow if flow and 0 <= sample.at - flow.at < _WITHOUT_TOTALS else None
    ended, inside = sample.completed + sample.failed, sample.waiting + sample.active
    if flow is None:
        return Flow(sample.at, ended, inside, sample.active, begun=sample.at)
    seconds = sample.at - flow.at
    if 0 <= seconds < _SAME_MOMENT:
        return flow
    if seconds < 0 or ended < flow.ended:  # another clock, or counters that were reset
        return _restarted(flow, sample, ended, inside)
    arrived = max(0.0, ended - flow.ended + inside - flow.inside)
    rate = arrived / seconds
    fade = 0.5 ** (seconds / max(_SERVICE_HALF_LIFE, _SERVICE_RUNS * flow.service))
    flow = Flow(
        at=sample.at,
        ended=ended,
        inside=inside,
        active=sample.active,
        level=_averaged(flow.level, rate, seconds / _LEVEL_HALF_LIFE),
        fast=_averaged(None if flow.level is None else flow.fast, rate, seconds / _FAST_HALF_LIFE),
        busy=flow.busy * fade + (flow.active + sample.active) / 2 * seconds,
        done=flow.done * fade + ended - flow.ended,
        begun=flow.begun,
        came=flow.came + arrived,
        forecast=flow.forecast,
        windows=flow.windows,
        error=flow.error,
        peak=flow.peak,
    )
    return _with_window(flow) if flow.at - flow.begun >= horizon else flow


def _averaged(average: float | None, value: float, half_lives: float) -> float:
    if average is None:
        return value
    weight: float = 0.5**half_lives
    return average * weight + value * (1.0 - weight)


def _restarted(flow: Flow, sample: QueueSample, ended: float, inside: float) -> Flow:
    """Continue from here after a reset; the forecast of the current window is not tested."""
    return Flow(
        at=sample.at,
        ended=ended,
        inside=inside,
        active=sample.active,
        level=flow.level,
        fast=flow.fast,
        busy=flow.busy,
        done=flow.done,
        begun=sample.at,
        forecast=flow.level or 0.0,
        windows=flow.windows,
        error=flow.error,
        peak=flow.peak,
    )


def _with_window(flow: Flow) -> Flow:
    seconds = flow.at - flow.begun
    windows = [window for window in flow.windows if flow.at - _REMEMBERED <= window.end < flow.at]
    windows.append(Window(flow.at, flow.came / seconds, flow.forecast))
    peak = quantile((window.rate for window in windows), _PEAK_QUANTILE)
    return Flow(
        at=flow.at,
        ended=flow.ended,
        inside=flow.inside,
        active=flow.active,
        level=flow.level,
        fast=flow.fast,
        busy=flow.busy,
        done=flow.done,
        begun=flow.at,
        forecast=flow.level or 0.0,
        windows=tuple(windows),
        error=_error(windows),
        peak=peak or 0.0,
    )


def _error(windows: Sequence[Window]) -> float:
    errors = [window.rate / window.forecast - 1.0 for window in windows if window.forecast > 1e-9]
    error = quantile(errors, _ERROR_QUANTILE)
    if error is None:
        return _UNTRIED_ERROR
    untried = _UNTRIED_ERROR * (1.0 - len(errors) / TRIED)
    return max(0.0, untried, error)
