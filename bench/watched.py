"""CPU and memory of a process that is scraped, by its own clocks, less what it uses in the background."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import psutil

from bench.scrape import Scraper

_SETTLE_SECONDS: Final = 0.05  # threads that end after the answer belong to it


class Cost(NamedTuple):
    """CPU of an exporter and of Redis for one scrape, in ms, and the bytes of its answer."""

    exporter: float
    redis: float
    size: int


class Watched:
    """An exporter that is measured; `redis` is the process id of the Redis that it reads."""

    def __init__(self, name: str, port: int, pid: int, redis: int, *, gzip: bool = True) -> None:
        self.name = name
        self.process = psutil.Process(pid)
        self.body = b""
        self.costs: dict[str, list[Cost]] = {}
        self.resident: dict[str, float] = {}
        self._pids = pid, redis
        self._scraper = Scraper(port, gzip=gzip)
        self._background = (0.0, 0.0)

    def scrape(self, phase: str, *, kept: bool = True) -> None:
        """One scrape, whose cost counts in this phase if it is `kept`."""
        began, before = time.monotonic(), self.clocks()
        self.body = self._scraper.scrape()
        time.sleep(_SETTLE_SECONDS)
        now, took = self.clocks(), time.monotonic() - began
        used = [
            (after - first - share * took) * 1000
            for first, after, share in zip(before, now, self._background, strict=True)
        ]
        if kept:
            self.costs.setdefault(phase, []).append(Cost(used[0], used[1], len(self.body)))
        self.resident[phase] = self.process.memory_info().rss / 1e6

    @property
    def background(self) -> tuple[float, float]:
        """Shares of a core without scrapes: of the exporter, and of Redis with all that read it."""
        return self._background

    @background.setter
    def background(self, shares: tuple[float, float]) -> None:
        self._background = shares

    def clocks(self) -> tuple[float, float]:
        """CPU seconds of the exporter and of Redis."""
        return cpu_seconds(self._pids[0]), cpu_seconds(self._pids[1])


def rest(exporters: Sequence[Watched], seconds: float) -> None:
    """Measure what they use without a scrape."""
    began = time.monotonic()
    before = [each.clocks() for each in exporters]
    time.sleep(seconds)
    took = time.monotonic() - began
    for each, (own, redis) in zip(exporters, before, strict=True):
        now = each.clocks()
        each.background = (now[0] - own) / took, (now[1] - redis) / took


def cpu_seconds(pid: int) -> float:
    """The CPU time of another process in seconds, in ns steps: `times` of psutil has steps of 10 ms."""
    return time.clock_gettime(((~pid) << 3) | 2)  # CPUCLOCK_SCHED of the process, as clock_getcpuclockid
