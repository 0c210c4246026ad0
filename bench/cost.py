"""`python -m bench.cost`: CPU and memory of a scrape, at 1,000 and 10,000 queues, idle and changing.

CPU is that of the whole exporter process, by its own clock, less what it uses in the background; load on the
machine moves it by a third, so that only figures of one run are comparable: each is printed beside the floor
of the same rounds (`bench/floor.py`) and its goal. `--beside FOLDER` measures the exporter of another working
copy in turn with this one; `--profile` writes where the time goes.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from math import isnan, nan
from pathlib import Path
from typing import Final, NamedTuple

from bench.background import Longest, longest_command
from bench.floor import Floor, FloorCost
from bench.programs import ROOT
from bench.queues import PREFIX, exchange, fill, names
from bench.ratios import Ratios
from bench.scrape import NotFoundError, exporter_of
from bench.start import Start, start
from bench.streams import EVENTS_A_JOB
from bench.watched import Watched, rest
from exporter.redis.protocol import pack
from lab.redis import RedisServer, start_redis

ROUNDS, WARM = 9, 2
HOT_WARM: Final = 12  # scrapes until queues that always change have blocks of their own
BACKGROUND_SECONDS: Final = 8.0
SETTLE_SECONDS: Final = 2.0  # for the events of all queues to be read
JOBS: Final = 20
FAST: Final = "bullmq: {scan_calls_per_second: 1000}\nredis: {timeout_seconds: 9}\n"


def change(port: int, queues: Sequence[str], number: int) -> None:
    """One whole job in the event stream of each queue."""
    packed = []
    for queue in queues:
        key = f"{PREFIX}:{queue}:events"
        for event, *fields in (
            ("added", "name", "job"),
            ("waiting",),
            ("active", "prev", "waiting"),
            ("completed", "returnvalue", "null", "prev", "active"),
        ):
            packed.append(
                pack("XADD", key, "MAXLEN", "~", 1000, "*", "event", event, "jobId", f"x{number}", *fields)
            )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as redis:
        for start in range(0, len(packed), 5000):
            batch = packed[start : start + 5000]
            exchange(redis, b"".join(batch), len(batch))
    assert len(packed) == EVENTS_A_JOB * len(queues)


class Goal(NamedTuple):
    """What a scrape should cost, in ms of CPU of the exporter and of Redis."""

    exporter: float
    redis: float | None = None


GOALS: Final = {
    (1_000, "idle, histograms"): Goal(20, 1.5),
    (1_000, "all changing"): Goal(60, 8),
    (10_000, "idle, histograms"): Goal(150, 6),
    (10_000, "5 % changing"): Goal(200),
    (10_000, "all changing"): Goal(600),
}
GOAL_RESIDENT: Final = {1_000: 95, 10_000: 220}
GOAL_BACKGROUND: Final = {1_000: Goal(1.0), 10_000: Goal(3.0, 1.5)}
"""In per cent of a core."""
GOAL_LONGEST: Final = 2.0
GOAL_START: Final = {1_000: 1.5, 10_000: 4.0}
"""Seconds from the start of the process to a scrape with all queues, with the default settings."""


class Result(NamedTuple):
    """What was measured at one number of queues."""

    queues: int
    exporters: list[Watched]
    floors: dict[str, FloorCost]
    least: FloorCost
    starts: dict[str, Start]
    longest: Longest


@contextmanager
def watched(redis: RedisServer, queues: int, folders: Sequence[Path]) -> Iterator[list[Watched]]:
    """An exporter of each folder, all on one Redis."""
    with ExitStack() as stack:
        running = []
        for folder in folders:
            port, process = stack.enter_context(
                exporter_of(redis.port, queues=queues, config=FAST, folder=folder)
            )
            running.append(Watched(_name(folder), port, process.pid, redis.process.pid))
        yield running


def measure(queues: int, folders: Sequence[Path], rounds: int, profile: str) -> Result:
    """Idle queues, before and after they had their first job, and queues of which some or all change."""
    with start_redis() as redis:
        fill(redis.port, queues=queues, jobs_per_queue=JOBS)
        listed = names(queues)
        floor = Floor(redis.port, redis.process.pid, listed)
        starts = {_name(folder): _start(redis, queues, folder) for folder in folders}
        floors: dict[str, list[FloorCost]] = {}
        with watched(redis, queues, folders) as exporters:
            time.sleep(SETTLE_SECONDS * 3)
            number = 0

            def run(phase: str, changed: Sequence[str], *, warm: int = WARM) -> None:
                nonlocal number
                for turn in range(rounds + warm):
                    if changed:
                        number += 1
                        change(redis.port, changed, number)
                        time.sleep(SETTLE_SECONDS)
                    floors.setdefault(phase, []).append(floor.run())
                    for exporter in exporters:
                        exporter.scrape(phase, kept=turn >= warm)

            longest = _rest(redis, exporters)
            run("idle", [])
            number += 1
            change(redis.port, listed, number)
            time.sleep(SETTLE_SECONDS * 2)
            _rest(redis, exporters)
            run("idle, histograms", [])
            run("5 % changing", listed[::20], warm=HOT_WARM)
            run("all changing", listed)
            run("idle, after", [])
            if profile:
                _profile(exporters[-1], profile)
        floor.close()
    middles = {phase: FloorCost(*_medians(each)) for phase, each in floors.items()}
    least = FloorCost(*(min(column) for column in zip(*chain.from_iterable(floors.values()), strict=True)))
    return Result(queues, exporters, middles, least, starts, longest)


def _name(folder: Path) -> str:
    return "this" if folder == ROOT else folder.name


def _start(redis: RedisServer, queues: int, folder: Path) -> Start:
    """The second of two: the first writes the bytecode. nan if it did not have all queues in time."""
    try:
        start(redis.port, queues, folder)
        return start(redis.port, queues, folder)
    except NotFoundError as error:
        print(f"{_name(folder)} with default settings: {error}", flush=True)
        return Start(nan, nan, nan, nan)


def _rest(redis: RedisServer, exporters: Sequence[Watched]) -> Longest:
    """Measure what is used without a scrape; the longest command at Redis meanwhile."""
    redis.cli("config", "set", "slowlog-log-slower-than", 1000)
    redis.cli("config", "resetstat")
    redis.cli("slowlog", "reset")
    rest(exporters, BACKGROUND_SECONDS)
    return longest_command(redis)


def _medians(rows: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def report(result: Result) -> None:
    """Print it, each figure beside its floor and its goal."""
    queues = result.queues
    print(f"\n{queues:,} queues; CPU of a gzip scrape in ms, medians; x: times the floor")
    print(
        f"{'':<34}{'exporter':>9}{'x':>6}{'goal':>6}{'Redis':>8}{'x':>6}{'goal':>6}{'MB':>7}{'resident':>10}"
    )
    for phase, floor in result.floors.items():
        print(f"{phase + ' (floor)':<34}{floor.own:>9.1f}{1:>6}{'':>6}{floor.redis:>8.1f}{1:>6}")
        goal = GOALS.get((queues, phase), Goal(0))
        for each in result.exporters:
            used, redis, size = _medians(each.costs[phase])
            print(
                f"{phase + f' ({each.name})':<34}{used:>9.1f}{used / floor.own:>6.1f}{goal.exporter or '':>6}"
                f"{redis:>8.1f}{redis / floor.redis:>6.2f}{goal.redis or '':>6}"
                f"{size / 1e6:>7.2f}{each.resident[phase]:>8.0f} MB"
            )
    background = GOAL_BACKGROUND.get(queues, Goal(0))
    for each in result.exporters:
        own, redis = each.background
        first = result.starts[each.name]
        print(
            f"{each.name}: background {own:.2%} of a core (goal {background.exporter or '-'} %); started in "
            f"{first.scraped:.1f} s, {first.scraped_cpu:.1f} s CPU (goal {GOAL_START.get(queues, '-')} s); "
            f"resident goal {GOAL_RESIDENT.get(queues, '-')} MB"
        )
        print(f"Redis beside all of them: {redis:.2%} of a core (goal {background.redis or '-'} %)")
    print(f"longest command at Redis while none scrapes: {result.longest} (goal {GOAL_LONGEST:g} ms)")
    sys.stdout.flush()


def reach(results: Sequence[Result]) -> str:
    """The figures of this working copy as a table in Markdown, each with its floor and its goal."""
    lines = [
        "| queues | what | exporter | Redis | floor: exporter, Redis | goal |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        (this,) = [each for each in result.exporters if each.name == "this"]
        number = f"{result.queues:,}"
        for phase, costs in this.costs.items():
            used, redis, _ = _medians(costs)
            floor, goal = result.floors[phase], GOALS.get((result.queues, phase))
            goals = "" if goal is None else f"{goal.exporter:g} ms"
            goals += "" if goal is None or goal.redis is None else f", Redis {goal.redis:g} ms"
            lines.append(
                f"| {number} | a scrape, {phase} | {used:,.0f} ms | {redis:.1f} ms "
                f"| {floor.own:.1f}, {floor.redis:.1f} ms | {goals} |"
            )
        own, of_redis = this.background
        background = GOAL_BACKGROUND[result.queues]
        limit = "" if background.redis is None else f", Redis {background.redis:g} %"
        resident = f"{this.resident['idle, histograms']:.0f} MB, {max(this.resident.values()):.0f} MB at most"
        start = result.starts["this"]
        started = (
            "not within 90 s"
            if isnan(start.scraped)
            else f"{start.scraped:.1f} s, {start.scraped_cpu:.1f} s of CPU"
        )
        allowed = f"{background.exporter:g} %{limit}"
        lines += [
            f"| {number} | background without a scrape | {own:.2%} | {of_redis:.2%} | | {allowed} |",
            f"| {number} | longest command of it | | {result.longest} | | {GOAL_LONGEST:g} ms |",
            f"| {number} | resident, histograms | {resident} | | | {GOAL_RESIDENT[result.queues]} MB |",
            f"| {number} | first full scrape after start | {started} | | | {GOAL_START[result.queues]:g} s |",
        ]
    return "\n".join(lines)


def ratios_of(result: Result) -> Ratios:
    """Of this working copy to the floor, by the least of each; the memory in MB, as machines are alike in it.

    Idle, Redis may do less for a scrape than its background varies by: then a twentieth of the floor counts.
    """
    (this,) = [each for each in result.exporters if each.name == "this"]
    ratios: Ratios = {}
    for phase, costs in this.costs.items():
        floor = result.least
        used, redis, _ = (min(column) for column in zip(*costs, strict=True))
        ratios[f"cost, {result.queues:,} queues, {phase}"] = used / floor.own
        ratios[f"cost, {result.queues:,} queues, {phase}, Redis"] = max(0.05, redis / floor.redis)
    ratios[f"cost, {result.queues:,} queues, resident MB"] = max(this.resident.values())
    return ratios


def _profile(exporter: Watched, file: str) -> None:
    """Twenty seconds of scrapes under py-spy, as collapsed stacks."""
    command = ["py-spy", "record", "--pid", str(exporter.process.pid), "--format", "raw", "--rate", "500"]
    recorder = subprocess.Popen([*command, "--duration", "20", "--output", file])
    while recorder.poll() is None:
        exporter.scrape("profile", kept=False)


def main(ratios: Ratios | None = None, *, queues: Sequence[int] = (1_000,)) -> int:
    """Print the costs, and add their ratios; nothing is judged here."""
    for number in queues:
        result = measure(number, [ROOT], ROUNDS, "")
        report(result)
        if ratios is not None:
            ratios.update(ratios_of(result))
    return 0


def _main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.cost")
    parser.add_argument(
        "--queues", type=int, action="append", choices=[1_000, 10_000], help="both unless given"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--beside", type=Path, action="append", default=[], help="another working copy")
    parser.add_argument("--profile", default="")
    parser.add_argument("--table", action="store_true", help="also as the table of docs/performance.md")
    options = parser.parse_args(arguments)
    folders = [*map(Path.absolute, options.beside), ROOT]
    results = []
    for queues in options.queues or (1_000, 10_000):
        results.append(measure(queues, folders, options.rounds, options.profile))
        report(results[-1])
    if options.table:
        print("\n" + reach(results))
    return 0


if __name__ == "__main__":
    sys.exit(_main())
