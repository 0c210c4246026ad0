"""A plan by one who knows every job and its run time: the cheapest of some that keep the SLO.

Two kinds of plans, second by second, each for shares of the SLO that a job may wait:

- the taut string: the work that has been done may be no less than what came `share` x SLO ago, and no more
  than what has come; the shortest line between the two has the fewest changes. Its slope is the slots.
- just in time: the slots that are busy if each job starts after `share` x SLO; for jobs that are longer than
  the SLO, which no number of slots makes shorter.

Both with some room, requested a mean or the longest start time ahead, and kept over short gaps. The plans are
run in the simulator in the order of their cost, 30 at most, until one has no more than 0.1 % of the jobs over
the SLO; if none has, the one with the fewest counts. It knows nothing of limits, pauses, retries and crashes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from math import ceil, inf
from typing import Final

from bench.scenarios import Scenario
from scaler.backtest.plant import Report
from scaler.backtest.simulate import simulate
from scaler.model import Observation

_SHARES: Final = (0.4, 0.7, 0.85, 0.95)
_ROOM: Final = (0.0, 0.05, 0.2)
_GAPS: Final = (0, 30)
_ALLOWED: Final = 0.001
_MOST_TRIED: Final = 30


@dataclass(frozen=True)
class Plan:
    """Workers second by second."""

    workers: tuple[int, ...]

    def decide(self, observation: Observation) -> int:
        return self.workers[min(len(self.workers) - 1, int(observation.time))]


def best(scenario: Scenario, *, most: int, seed: int) -> Report:
    """The report of the best plan."""
    reports = []
    for plan in sorted(_plans(scenario, most), key=lambda plan: sum(plan.workers))[:_MOST_TRIED]:
        plant = scenario.plant(interval=1.0, scrape=30.0, phase=0.0, seed=seed)
        report = simulate(scenario.load, plant, plan, slo=scenario.slo, until=scenario.seconds)
        if report.over <= _ALLOWED:
            return report
        reports.append(report)
    return min(reports, key=lambda report: report.over)


def _plans(scenario: Scenario, most: int) -> Iterator[Plan]:
    low, high = scenario.start
    for share in _SHARES:
        delay = share * scenario.slo
        for slots in (_just_in_time(scenario, delay), _taut_string(scenario, delay)):
            for room, ahead, gap in product(_ROOM, {ceil((low + high) / 2), ceil(high)}, _GAPS):
                needed = [
                    min(
                        most, max(scenario.min_workers, ceil(busy * (1 + room) / scenario.concurrency - 0.02))
                    )
                    for busy in slots
                ]
                later = running_most(needed[::-1], ahead + 1)[::-1]
                yield Plan(tuple(running_most(later, gap)))


def _just_in_time(scenario: Scenario, delay: float) -> list[float]:
    """Jobs that run in each second, if each starts `delay` seconds after it came."""
    changes = [0] * (int(scenario.seconds) + 2)
    last = len(changes) - 1
    for at, run in zip(scenario.load.at, scenario.load.runs, strict=True):
        changes[min(last, int(at + delay))] += 1
        changes[min(last, ceil(at + delay + run))] -= 1
    return [float(busy) for busy in accumulate(changes)]


def _taut_string(scenario: Scenario, delay: float) -> list[float]:
    """Slots in each second, by the work (slot-seconds) that has come and has to be done."""
    seconds = int(scenario.seconds) + 2
    came = [0.0] * seconds
    for at, run in zip(scenario.load.at, scenario.load.runs, strict=True):
        came[min(seconds - 1, int(at) + 1)] += run
    upper = list(accumulate(came))
    shift = int(delay)
    lower = [0.0] * min(shift, seconds) + upper[: max(0, seconds - shift)]
    return taut_string(lower, upper)


def taut_string(lower: Sequence[float], upper: Sequence[float]) -> list[float]:
    """The slopes of the shortest line from lower[0] to the end that stays between two rising curves."""
    slopes: list[float] = []
    begin, height = 0, lower[0]
    last = len(lower) - 1
    while begin < last:
        least, most, least_at, most_at = -inf, inf, begin + 1, begin + 1
        end, slope = last, 0.0
        for index in range(begin + 1, last + 1):
            low = (lower[index] - height) / (index - begin)
            high = (upper[index] - height) / (index - begin)
            if low > most:
                end, slope = most_at, most
                break
            if high < least:
                end, slope = least_at, least
                break
            if low >= least:
                least, least_at = low, index
            if high <= most:
                most, most_at = high, index
        else:
            end, slope = least_at, least
        slopes += [max(0.0, slope)] * (end - begin)
        height += slope * (end - begin)
        begin = end
    return slopes


def running_most(values: Sequence[int], window: int) -> list[int]:
    """At each index the most of it and of the `window` before it."""
    result: list[int] = []
    candidates: deque[int] = deque()
    for index, value in enumerate(values):
        while candidates and values[candidates[-1]] <= value:
            candidates.pop()
        candidates.append(index)
        if candidates[0] < index - window:
            candidates.popleft()
        result.append(values[candidates[0]])
    return result
