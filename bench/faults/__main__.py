"""A soak of the scaler: `python -m bench.faults --minutes 60 [--seed N] [--record FILE]`.

Real workers with jobs of 1 s, 60 s and 240 s, and a fault each minute; see bench/faults/plan.py. The exit
code is 1 if a job was lost, began twice, failed or starved, a worker was killed, or was there for nothing.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter

from bench.faults.outcome import Outcome, findings, late
from bench.faults.plan import LOADS, Fault, arrivals, faults
from bench.faults.world import World, begin, running_world

_RECORDS = TypeAdapter(tuple[list[Fault], list[Outcome]])
_REST_SECONDS = 420.0  # for the last of the long jobs


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.faults")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--record", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    random = Random(options.seed)
    seconds = 60 * options.minutes
    planned, jobs = faults(seconds, random), arrivals(seconds, random)
    with TemporaryDirectory(prefix="oxherd-faults-") as folder, running_world(Path(folder)) as world:
        threads = [threading.Thread(target=world.watch), threading.Thread(target=world.add, args=(jobs,))]
        for thread in threads:
            thread.start()
        try:
            happened = _play(world, seconds, planned)
            threads[1].join()
            for load in LOADS:
                with suppress(TimeoutError):  # those that are not done are lost, and reported
                    world.bullmq.wait_for_counts(
                        load.queue, {"completed": world.added[load.name]}, seconds=_REST_SECONDS
                    )
        finally:
            world.ended.set()
            for thread in threads:
                thread.join()
        outcomes = [world.outcome(load) for load in LOADS]
    if options.record:
        options.record.write_bytes(_RECORDS.dump_json((happened, outcomes)))
    return report(happened, outcomes)


def report(happened: Sequence[Fault], outcomes: Sequence[Outcome]) -> int:
    """Print it; the exit code."""
    for fault in happened:
        print(f"{fault.begin:6.0f} to {fault.end:6.0f} s  {fault.kind}, {fault.load}")
    problems = [line for outcome in outcomes for line in findings(outcome, happened)]
    for outcome in outcomes:
        waits = sorted(job.taken - job.added for job in outcome.jobs)
        most = max((look.requested for look in outcome.looks), default=0)
        print(
            f"{outcome.load.name}: {outcome.added} jobs, {late(outcome)} over the SLO, the longest wait "
            f"{waits[-1] if waits else 0:.0f} s; {outcome.starts} workers started, at most {most} at once"
        )
    for problem in problems:
        print(f"NOT RIGHT  {problem}")
    return int(bool(problems))


def _play(world: World, seconds: float, planned: Sequence[Fault]) -> list[Fault]:
    """Begin and end each fault at its time; the faults as they happened."""
    happened = []
    for fault in planned:
        time.sleep(max(0.0, fault.begin - world.now))
        began = world.now
        print(f"{began:6.0f} s  {fault.kind}, {fault.load}", file=sys.stderr, flush=True)
        end = begin(world, fault)
        time.sleep(max(0.0, began + fault.end - fault.begin - world.now))
        end()
        happened.append(Fault(fault.kind, fault.load, began, world.now))
    time.sleep(max(0.0, seconds - world.now))
    return happened


if __name__ == "__main__":
    sys.exit(main())
