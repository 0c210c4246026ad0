"""`python -m bench.profiles FOLDER...`: where the time of scrapes goes in the exporter of each working copy.

Needs py-spy (`pip install py-spy`) in the PATH. One job in every queue between two scrapes, or in each n-th
(`--each`; 0: in none); the share of the
samples of all threads that run, by the module of the exporter in which they are, at any depth (`with calls`)
and as the innermost of ours (`own`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from bench.cost import FAST, JOBS, change
from bench.queues import fill, names
from bench.scrape import Scraper, exporter_of
from lab.redis import start_redis

_SECONDS: Final = 20
_ROWS: Final = 14
_OURS: Final = ("exporter/", "service/")


class Share(NamedTuple):
    """Of all samples, of one module."""

    module: str
    own: float
    with_calls: float


def shares(stacks: Iterable[str]) -> list[Share]:
    """From lines of collapsed stacks (`frame (file:line);frame (file:line) samples`), the largest first."""
    own: Counter[str] = Counter()
    with_calls: Counter[str] = Counter()
    total = 0
    for stack in stacks:
        frames, _, number = stack.rpartition(" ")
        samples = int(number)
        modules = [module for frame in frames.split(";") if (module := _module(frame))]
        total += samples
        own[modules[-1] if modules else "other"] += samples
        for module in {*modules} or {"other"}:
            with_calls[module] += samples
    return [
        Share(module, own[module] / total, samples / total) for module, samples in with_calls.most_common()
    ]


def _module(frame: str) -> str:
    """`exporter/metrics/lines.py` of `draw (/some/where/exporter/metrics/lines.py:128)`."""
    path = frame.partition("(")[2].partition(":")[0]
    starts = [path.rfind(f"/{package}") + 1 for package in _OURS if f"/{package}" in f"/{path}"]
    return path[max(starts) :] if starts and "site-packages" not in path else ""


def profile(folder: Path, queues: int, each: int, rate: int) -> list[Share]:
    """The exporter of one working copy, on a Redis of its own."""
    with start_redis() as redis, TemporaryDirectory() as temporary:
        fill(redis.port, queues=queues, jobs_per_queue=JOBS)
        output = Path(temporary) / "stacks"
        with exporter_of(redis.port, queues=queues, config=FAST, folder=folder) as (port, process):
            scraper = Scraper(port, gzip=True)
            change(redis.port, names(queues), 0)
            time.sleep(3)
            scraper.scrape()
            command = [
                "py-spy",
                "record",
                "--pid",
                str(process.pid),
                "--format",
                "raw",
                "--rate",
                str(rate),
                "--gil",
            ]
            recorder = subprocess.Popen(
                [*command, "--duration", str(_SECONDS), "--output", str(output)], stdout=subprocess.DEVNULL
            )
            number = 0
            while recorder.poll() is None:
                number += 1
                if each:
                    change(redis.port, names(queues)[::each], number)
                time.sleep(1.0)
                scraper.scrape()
        return shares(output.read_text().splitlines())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.profiles")
    parser.add_argument("folders", nargs="*", type=Path, default=[Path(__file__).parents[1]])
    parser.add_argument("--queues", type=int, default=1_000)
    parser.add_argument("--each", type=int, default=1, help="one job in each n-th queue between two scrapes")
    parser.add_argument("--rate", type=int, default=200, help="samples a second")
    options = parser.parse_args(arguments)
    for folder in options.folders:
        what = f"1 of {options.each} changing" if options.each else "idle"
        print(f"\n{folder}: {options.queues:,} queues, {what}")
        print(f"{'':<44}{'own':>8}{'with calls':>12}")
        for share in profile(folder.absolute(), options.queues, options.each, options.rate)[:_ROWS]:
            print(f"{share.module:<44}{share.own:>8.1%}{share.with_calls:>12.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
