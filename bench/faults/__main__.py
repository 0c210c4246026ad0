"""A soak: `python -m bench.faults --minutes 120 [--seed N] [--rate JOBS/S] [--record FILE]
[--only KIND,...]`.

Real workers with jobs of 1 s, 60 s and 240 s, which the scaler starts and stops, a stream of short jobs at
`rate`, and a fault each minute; see bench/faults/plan.py. The same seed has the same faults and jobs.

A line for each thing that has to hold, and `NOT RIGHT` for each that did not, with the exit code 1: no job
lost, begun twice, failed or starved, no worker killed or there for nothing; counters exact but for what is
told as lost; memory and descriptors flat after ten minutes; no program that ends by itself; no scrape that an
attack keeps out; no alert that no fault explains.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter

from bench.faults.injected import begin
from bench.faults.outcome import Outcome, findings, late
from bench.faults.plan import INTERVAL, LOADS, SECONDS, Fault, Kind, arrivals, faults
from bench.faults.steady import growth, strange_alerts, unanswered
from bench.faults.stream import StreamTally, uncounted
from bench.faults.world import World, running_world
from lab.redis import RedisError

_RECORDS = TypeAdapter(tuple[list[Fault], list[Outcome]])
_NOTHING_LEFT = {"active": 0, "waiting": 0, "delayed": 0}
_REST_SECONDS = 420.0  # for the last of the long jobs


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.faults")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--rate", type=float, default=1000.0, metavar="JOBS/S", help="of the short jobs")
    parser.add_argument("--record", type=Path, metavar="FILE")
    parser.add_argument("--only", type=kinds_of, default=(), metavar="KIND,...", help="these in turn")
    options = parser.parse_args(arguments)
    random = Random(options.seed)
    seconds = 60 * options.minutes
    planned, jobs = faults(seconds, random, options.only), arrivals(seconds, random)
    with (
        TemporaryDirectory(prefix="oxherd-faults-") as folder,
        running_world(Path(folder), options.rate) as world,
    ):
        streamed = threading.Event()
        adding = threading.Thread(target=world.add, args=(jobs,))
        streaming = threading.Thread(target=world.stream.run, args=(streamed,))
        watching = [threading.Thread(target=watch) for watch in (world.watch, world.watch_programs)]
        threads = [adding, streaming, *watching]
        for thread in threads:
            thread.start()
        try:
            happened, not_injected = _play(world, seconds, planned)
            adding.join()
            streamed.set()
            streaming.join()
            world.stream.wait_until_done()
            for load in LOADS:
                with suppress(TimeoutError):  # those that are not done are lost, and reported
                    world.bullmq.wait_for_counts(load.queue, _NOTHING_LEFT, seconds=_REST_SECONDS)
            time.sleep(3 * INTERVAL)
        finally:
            streamed.set()
            world.ended.set()
            for thread in threads:
                thread.join()
        outcomes = [world.outcome(load) for load in LOADS]
        tallies = list(world.stream.tallies(world.prometheus))
        verdicts = {
            "jobs that the scaler's workers ran": [
                line for outcome in outcomes for line in findings(outcome, happened)
            ],
            f"counters of {world.stream.added} short jobs": list(uncounted(tallies)),
            "memory and descriptors": list(growth(world.footprints)),
            "programs that ended by themselves": world.died,
            "processes that outlived their scaler": world.orphans(),
            "scrapes during attacks": list(unanswered(world.failed_scrapes(), happened)),
            "alerts": list(strange_alerts(world.fired(), happened)),
            "faults that this bench could not begin or end": not_injected,
        }
    if options.record:
        options.record.write_bytes(_RECORDS.dump_json((happened, outcomes)))
    _print(happened, outcomes, tallies)
    return report(verdicts)


def report(verdicts: Mapping[str, Sequence[str]]) -> int:
    """Print what held and what did not; the exit code."""
    for line, problems in verdicts.items():
        print(f"{'NOT RIGHT' if problems else 'held'}  {line}")
        for problem in problems:
            print(f"           {problem}")
    return int(any(verdicts.values()))


def _print(happened: Sequence[Fault], outcomes: Sequence[Outcome], tallies: Sequence[StreamTally]) -> None:
    for fault in happened:
        print(f"{fault.begin:6.0f} to {fault.end:6.0f} s  {fault.kind}, {fault.load}")
    for tally in tallies:
        print(tally)
    for outcome in outcomes:
        waits = sorted(job.taken - job.added for job in outcome.jobs)
        most = max((look.requested for look in outcome.looks), default=0)
        print(
            f"{outcome.load.name}: {len(outcome.added)} jobs, {late(outcome)} over the SLO, the longest wait "
            f"{waits[-1] if waits else 0:.0f} s; {outcome.starts} workers started, at most {most} at once; "
            f"{sum(times - 1 for times in outcome.begun.values())} begun again, "
            f"{len(outcome.stopped)} ran in a fault that lets them"
        )


def kinds_of(text: str) -> list[Kind]:
    """Those of a list with commas, in its order. Raises ArgumentTypeError: there is no such fault."""
    known: dict[str, Kind] = {kind: kind for kind in SECONDS}
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown}: the kinds are {', '.join(SECONDS)}")
    return [known[name] for name in names]


def _play(world: World, seconds: float, planned: Sequence[Fault]) -> tuple[list[Fault], list[str]]:
    """Begin and end each fault at its time; the faults as they happened, and a line for each that could not
    be begun or ended: what was seen of the others is judged all the same."""
    happened, not_injected = [], []
    for fault in planned:
        time.sleep(max(0.0, fault.begin - world.now))
        began = world.now
        print(f"{began:6.0f} s  {fault.kind}, {fault.load}", file=sys.stderr, flush=True)
        try:
            end = begin(world, fault)
            time.sleep(max(0.0, began + fault.end - fault.begin - world.now))
            end()
        except (RedisError, OSError, TimeoutError, RuntimeError) as error:
            not_injected.append(f"{fault.kind}, {fault.load} at {began:.0f} s: {error}")
        happened.append(Fault(fault.kind, fault.load, began, world.now))
    time.sleep(max(0.0, seconds - world.now))
    return happened, not_injected


if __name__ == "__main__":
    sys.exit(main())
