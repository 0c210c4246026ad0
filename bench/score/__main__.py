"""Whether the score says what is wrong: `python -m bench.score [--only CONDITION ...] [--healthy MINUTES]`.

Each cause is made on real servers, with real queues, and ended; the table says what the score did, and when
the alert fired, with the rules' times multiplied by 1/20. With `--healthy` nothing is wrong for so long, but
for bursts, rolling restarts of the workers and a manual failover. Thresholds of the
score over a minute are shorter by as much. The exit code is 1 if a row is not right.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from bench.score.cause import Cause
from bench.score.jobs import JOB_CAUSES
from bench.score.measure import Row, drops, problems, row_of
from bench.score.servers import SERVER_CAUSES
from bench.score.world import BUSY, World, running_world
from exporter.condition_table import CONDITION_TABLE

FACTOR: Final = 1 / 20
_BAND: Final = {"critical": "critical", "high": "warning", "medium": "healthy"}
_CAUSES: Final = (*SERVER_CAUSES, *JOB_CAUSES)
_BEFORE, _FAILOVER = 6.0, 15.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.score")
    subjects = sorted({*map(_subject, _CAUSES)})
    parser.add_argument("--only", nargs="*", default=[], metavar="CONDITION", choices=subjects)
    parser.add_argument("--healthy", type=float, default=0.0, metavar="MINUTES")
    parser.add_argument("--seed", type=int, default=18)
    options = parser.parse_args(arguments)
    if options.healthy:
        return _healthy(options.healthy, Random(options.seed))
    chosen = [cause for cause in _CAUSES if not options.only or _subject(cause) in options.only]
    found = []
    print(_line("cause", "condition", "before", "during", "band", "after", "drop", "alert", "well again"))
    for cause in chosen:
        with (
            TemporaryDirectory(prefix="oxherd-score-") as folder,
            running_world(Path(folder), FACTOR, cause.settings) as world,
        ):
            row = _measured(world, cause)
        print(_cells(row), flush=True)
        severity = CONDITION_TABLE[cause.condition].severity if cause.condition else "medium"
        found += problems(row, _BAND[severity], pages=_alert_of(cause) is not None)
    for problem in found:
        print(f"NOT RIGHT  {problem}")
    return int(bool(found))


def _subject(cause: Cause) -> str:
    return cause.condition or cause.alert or ""


def _alert_of(cause: Cause) -> str | None:
    return CONDITION_TABLE[cause.condition].alert if cause.condition else cause.alert


def _measured(world: World, cause: Cause) -> Row:
    condition, alert = cause.condition, _alert_of(cause)
    world.watch(30, lambda look: look.score is not None and look.score >= 90)
    world.watch(_BEFORE)
    begin = world.now - 0.001
    cause.begin(world)
    world.watch(cause.seconds)
    cause.end(world)
    end = world.now
    world.watch(
        cause.recovers,
        lambda look: condition not in look.conditions and look.score is not None and look.score >= 90,
    )
    start = begin - _BEFORE
    looks = [look for look in world.looks if look.at >= start]
    return row_of(cause.name, condition, alert, looks, (begin, end))


def _line(*cells: str) -> str:
    widths = (46, 24, 6, 6, 8, 5, 6, 6, 10)
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cells(row: Row) -> str:
    def seconds(value: float | None) -> str:
        return "never" if value is None else f"{value:.0f} s"

    line = _line(
        row.cause,
        row.condition or "-",
        f"{row.before:g}",
        f"{row.during:g}",
        row.band,
        f"{row.after:g}",
        seconds(row.dropped),
        seconds(row.alerted),
        seconds(row.recovered),
    )
    return f"{line}\n    with {', '.join(sorted(row.beside))}" if row.beside else line


def _healthy(minutes: float, random: Random) -> int:
    """Bursts, rolling restarts and failovers in turn, one thing each half minute."""
    with TemporaryDirectory(prefix="oxherd-score-") as folder, running_world(Path(folder), 1.0, {}) as world:
        world.watch(30, lambda look: look.score is not None and look.score >= 90)
        began, allowed, count = world.now, [], 0
        first = len(world.looks)
        while world.now - began < 60 * minutes:
            match count % 6:
                case 0 | 2 | 4:
                    world.bullmq.add_bulk(BUSY, random.randrange(200, 2000))
                case 1 | 3:
                    world.stop_workers(BUSY)
                    world.watch(random.uniform(1, 15))
                    world.start_worker(BUSY)
                case _:
                    start = world.now
                    world.cluster.fail_over(random.choice(world.cluster.replicas()))
                    allowed.append((start, world.now + _FAILOVER))
            count += 1
            world.watch(30)
        looks = world.looks[first:]
    low = drops(looks, allowed)
    paged = sorted({alert for look in looks for alert in look.alerts})
    scores = [look.score for look in looks if look.score is not None]
    print(
        f"{minutes:g} minutes, {len(looks)} looks, {len(allowed)} failovers: lowest score {min(scores):g}, "
        f"{len(low)} looks below 90 outside the {_FAILOVER:g} s of a failover; "
        f"alerts: {', '.join(paged) or 'none'}"
    )
    for look in low[:20]:
        print(f"NOT RIGHT  {look.score} at {look.at - began:.0f} s: {', '.join(sorted(look.conditions))}")
    return int(bool(low))


if __name__ == "__main__":
    sys.exit(main())
