"""docs/alerts-measured.md: the times of a run, converted to the shipped times."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from lab.programs import find_program
from lab.receiver import Notification
from tests.support.alerts.monitoring import ScaledTimes
from tests.support.alerts.timeline import Timeline, intervals

_BULLMQ: Final = Path(__file__).parents[3] / "lab" / "node" / "node_modules" / "bullmq6" / "package.json"
_PAGE: Final = """\
# The eight alerts, measured

Written by `OXHERD_ALERTS_FACTOR={factor} OXHERD_ALERTS_TABLE=docs/alerts-measured.md make test-alerts`.

Each alert was caused on real servers, with the shipped rules and routes in {factor} of their time:
{versions}.

The figures are minutes and seconds: the measured time divided by {factor}. The scrape interval was
{scrape:g} s and the evaluation interval {evaluation:g} s, which correspond to {shipped_scrape} and
{shipped_evaluation} instead of 0:05 and 0:15. No `for` was shorter than 1 s.

- **first**: from the cause to the first notification, including the alert's `for`.
- **holds, flaps, over**: from one notification to the next: while the cause lasted, while it came and went,
  and after it had ended, when only `keep_firing_for` kept the alert firing. In Prometheus each cause ended
  and returned {flaps} while it flapped. No notification was sent for a flap.
- **end**: from the end of the cause to the one resolved notification. `keep_firing_for` is the cooldown.
- **other alerts**: other alerts of the same exporter in that time.
- The worker that stops does not come back in between: that takes some seconds, which here are minutes.
- The rule counts jobs that are removed as they fail for an hour. Their cause ends with that hour.

{rows}

## What they said

Each alert is one series, and so one notification, whatever number of nodes or queues it affects; it names
the five worst. The last notification of each while its cause lasted:

{texts}
"""
_HEAD: Final = ("alert", "cause", "cooldown", "first", "holds", "flaps", "over", "end", "other alerts")


def page(timelines: Collection[Timeline], times: ScaledTimes, factor: str) -> str:
    """The text of the page. `factor` is the setting's text, 1/20."""
    flaps = [timeline.flaps for timeline in timelines if timeline.flaps]
    return _PAGE.format(
        factor=factor,
        versions=", ".join(_versions()),
        scrape=times.scrape,
        evaluation=times.evaluation,
        shipped_scrape=_clock(times.scrape / times.factor),
        shipped_evaluation=_clock(times.evaluation / times.factor),
        flaps=_times(flaps),
        rows="\n".join(rows(timelines, times)),
        texts="\n".join(texts(timelines)),
    )


def rows(timelines: Iterable[Timeline], times: ScaledTimes) -> Iterable[str]:
    """The lines of the table."""
    yield _row(_HEAD)
    yield _row("---" for _ in _HEAD)
    for timeline in timelines:
        cells = (
            timeline.cause.alert,
            timeline.cause.what,
            _clock(timeline.cooldown / times.factor),
            _clock((timeline.firing[0].at - timeline.began) / times.factor),
            *(_spacings(timeline.firing, *span, times) for span in _spans(timeline)),
            _clock((timeline.resolved[0].at - timeline.ended) / times.factor),
            ", ".join(
                sorted(
                    {notification.alert for notification in timeline.notifications} - {timeline.cause.alert}
                )
            )
            or "-",
        )
        yield _row(cells)


def texts(timelines: Iterable[Timeline]) -> Iterable[str]:
    """What was told of each cause, by the description in the notification."""
    for timeline in timelines:
        told = [each for each in timeline.firing if each.at < timeline.flapped] or timeline.firing[:1]
        description = told[-1].body["commonAnnotations"]["description"]
        text = f"- **{timeline.cause.alert}**, {timeline.cause.what}: {description}"
        yield textwrap.fill(text, 105, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _spans(timeline: Timeline) -> tuple[tuple[float, float], ...]:
    return (
        (timeline.began, timeline.flapped),
        (timeline.flapped, timeline.ended),
        (timeline.ended, float("inf")),
    )


def _spacings(firing: list[Notification], begin: float, end: float, times: ScaledTimes) -> str:
    spacings = [
        gap for gap, later in zip(intervals(firing), firing[1:], strict=True) if begin <= later.at < end
    ]
    if not spacings:
        return "-"
    least, most = _clock(min(spacings) / times.factor), _clock(max(spacings) / times.factor)
    count = "" if len(spacings) == 1 else f"{len(spacings)} times "
    return count + (least if least == most else f"{least} to {most}")


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _times(counts: Collection[int]) -> str:
    few, many = min(counts), max(counts)
    return f"{few} times" if few == many else f"{few} to {many} times"


def _clock(seconds: float) -> str:
    """5:00 for 300 s."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _versions() -> list[str]:
    bullmq = json.loads(_BULLMQ.read_text())["version"]
    servers = {"Prometheus": "prometheus", "Alertmanager": "prometheus-alertmanager", "Redis": "redis-server"}
    return [*(f"{name} {_version(program)}" for name, program in servers.items()), f"BullMQ {bullmq}"]


def _version(program: str) -> str:
    done = subprocess.run([find_program(program), "--version"], check=True, capture_output=True, text=True)
    version = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return version[0] if version else "of an unknown version"
