"""A Prometheus that has weeks on disk: what an exporter would have recorded of jobs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Final, TypeAlias

import httpx

from lab.ports import free_port
from lab.process import ChildProcess
from lab.programs import find_program
from lab.prometheus import promtool

RecordedSeries: TypeAlias = Mapping[str, Sequence[tuple[int, float]]]
"""By its name with labels, the values of a series at their times (unix s)."""

_BOUNDS: Final = (0.1, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_COUNTERS: Final = ("bullmq_job_completed", "bullmq_job_failed")


def recorded_jobs(
    at: Sequence[float],
    runs: Sequence[float],
    *,
    queue: str,
    begin: int,
    seconds: int,
    step: int,
    workers: float | None = None,
    gaps: Sequence[tuple[float, float]] = (),
) -> dict[str, list[tuple[int, float]]]:
    """The series of jobs that come `at` seconds after `begin` (unix s), run so long each and never wait.

    In each of `gaps` (s, from and to) nothing was recorded.
    """
    ends = sorted((moment + run, run) for moment, run in zip(at, runs, strict=True))
    end_times = [moment for moment, _ in ends]
    sums = [0.0, *accumulate(run for _, run in ends)]
    below = {bound: [0, *accumulate(int(run <= bound) for _, run in ends)] for bound in _BOUNDS}
    labels = f'prefix="bull",queue="{queue}"'
    series: dict[str, list[tuple[int, float]]] = {}
    for time in range(0, seconds + 1, step):
        if any(since <= time < until for since, until in gaps):
            continue
        done, came = bisect_right(end_times, time), bisect_right(at, time)
        values = {
            f'bullmq_job_count{{{labels},state="waiting"}}': 0.0,
            f'bullmq_job_count{{{labels},state="prioritized"}}': 0.0,
            f'bullmq_job_count{{{labels},state="active"}}': float(came - done),
            f"bullmq_job_completed{{{labels}}}": float(done),
            f"bullmq_job_failed{{{labels}}}": 0.0,
            f'bullmq_job_processing_seconds_sum{{{labels},outcome="completed"}}': sums[done],
            f'bullmq_job_processing_seconds_count{{{labels},outcome="completed"}}': float(done),
            f'bullmq_job_processing_seconds_bucket{{{labels},outcome="completed",le="+Inf"}}': float(done),
        }
        for bound in _BOUNDS:
            name = f'bullmq_job_processing_seconds_bucket{{{labels},outcome="completed",le="{bound:g}"}}'
            values[name] = float(below[bound][done])
        if workers is not None:
            values[f"bullmq_queue_workers{{{labels}}}"] = workers
        for name, value in values.items():
            series.setdefault(name, []).append((begin + time, value))
    return series


def openmetrics(series: RecordedSeries) -> str:
    """As text, the samples of a family together under one TYPE."""
    families: dict[str, list[str]] = {}
    for name, points in series.items():
        family = name.split("{", maxsplit=1)[0]
        shown = name.replace("{", "_total{", 1) if family in _COUNTERS else name
        lines = families.setdefault(family, [])
        lines += [f"{shown} {value:.6f} {time}" for time, value in points]
    return "\n".join(
        [
            *(
                line
                for family, lines in families.items()
                for line in (
                    f"# TYPE {family} {'counter' if family in _COUNTERS else 'unknown'}",
                    *lines,
                )
            ),
            "# EOF",
            "",
        ]
    )


@contextmanager
def recorded_prometheus(series: RecordedSeries, home: Path) -> Iterator[str]:
    """The URL of a server that has these series and scrapes nothing; its files are in the folder `home`."""
    text = home / "recorded.txt"
    text.write_text(openmetrics(series))
    blocks = ("tsdb", "create-blocks-from", "--max-block-duration=648h")  # it reads all for each of 2 h
    done = promtool(*blocks, "openmetrics", str(text), str(home / "data"))
    if done.returncode != 0:
        raise RuntimeError(f"promtool makes no blocks of the recorded series: {done.stderr}")
    text.unlink()
    (home / "prometheus.yml").write_text("scrape_configs: []\n")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = ChildProcess(
        [
            find_program("prometheus"),
            f"--config.file={home / 'prometheus.yml'}",
            f"--storage.tsdb.path={home / 'data'}",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ],
        name="prometheus",
        log=home / "log",
    )

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/-/ready", trust_env=False).is_success
        except httpx.TransportError:
            return False

    try:
        server.wait_for(ready, seconds=60)
        yield url
    finally:
        server.stop()
