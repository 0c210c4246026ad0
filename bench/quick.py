"""`python -m bench --quick`: a scrape of 1,000 queues beside the floor, in less than a minute.

CPU time, not wall time, of the exporter and of Redis; the least of some runs, in turn with the floor, as what
else the machine does only ever adds to it.
"""

from __future__ import annotations

import time
from typing import Final

from bench.cost import FAST, change
from bench.floor import Floor, FloorCost
from bench.queues import fill, names
from bench.ratios import Ratios
from bench.scrape import exporter_of
from bench.watched import Watched
from lab.redis import start_redis

QUEUES: Final = 1_000
_JOBS: Final = 20
_READ_SECONDS: Final = 1.5  # for the events of all queues to be read
_PHASES: Final = {"idle": (12, 0), "5 % changing": (10, 20), "all changing": (6, 1)}
"""Rounds, and each of how many queues changes before one; rows that change often get blocks of their own."""


def main(ratios: Ratios | None = None) -> int:
    """Print the ratios, and add them; nothing is judged here."""
    began = time.monotonic()
    queues = names(QUEUES)
    floors: list[FloorCost] = []
    with start_redis() as redis:
        fill(redis.port, queues=QUEUES, jobs_per_queue=_JOBS)
        floor = Floor(redis.port, redis.process.pid, queues)
        with exporter_of(redis.port, queues=QUEUES, config=FAST) as (port, process):
            watched = Watched("this", port, process.pid, redis.process.pid)
            time.sleep(2 * _READ_SECONDS)
            change(redis.port, queues, 0)
            time.sleep(2 * _READ_SECONDS)
            for phase, (rounds, each) in _PHASES.items():
                for number in range(rounds):
                    if each:
                        change(redis.port, queues[::each], number + 1)
                        time.sleep(_READ_SECONDS)
                    floors.append(floor.run())
                    watched.scrape(phase, kept=number > 0)
        floor.close()
    own, of_redis = (min(column) for column in zip(*floors, strict=True))
    print(f"{QUEUES:,} queues, floor {own:.1f} ms of CPU and {of_redis:.1f} of Redis; least of a phase:")
    for phase, costs in watched.costs.items():
        exporter, used, _ = (min(column) for column in zip(*costs, strict=True))
        print(f"  {phase:<14} exporter {exporter:6.1f} ms, Redis {used:5.1f} ms")
        if ratios is not None:
            ratios[f"quick, {phase}"] = exporter / own
            ratios[f"quick, {phase}, Redis"] = used / of_redis
    print(f"  resident {watched.resident['all changing']:.0f} MB; {time.monotonic() - began:.0f} s")
    return 0
