"""docs/alerts-measured.md: what a run measured, recomputed to the shipped times."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from lab.programs import find_program
from lab.receiver import Notification
from tests.support.alerts.monitoring import Pace
from tests.support.alerts.story import Story, gaps

_BULLMQ: Final = Path(__file__).parents[3] / "lab" / "node" / "node_modules" / "bullmq6" / "package.json"
_PAGE: Final = """\
# The eight alerts, measured

Written by `OXHERD_ALERTS_FACTOR={factor} OXHERD_ALERTS_TABLE=docs/alerts-measured.md make test-alerts`.

Each alert was provoked by its cause, on real servers, with the shipped rules and routes in {factor} of their
time: {versions}.

The figures are minutes and seconds: what was measured, divided by {factor}. Scrapes were {scrape:g} s apart,
evaluations {evaluation:g} s, which stand here for {scrape_stands} and {evaluation_stands} instead of 0:05 and
0:15. No `for` was shorter than 1 s.

- **first**: from the cause to the first notification. The alert's `for` is part of it.
- **holds, flaps, over**: from one notification to the next, while the cause held, while it came and went, and
  after it was gone, when `keep_firing_for` alone kept the alert. Prometheus saw each cause go and come back
  {flaps} meanwhile; no flap was told.
- **end**: from the end of the cause to the one notification that says so. `keep_firing_for` is the cooldown.
- **also told**: other alerts of the same exporter in all that time.
- Jobs that are removed as they fail are remembered by the rule for an hour. Their cause ends with that hour.

{rows}
"""
_HEAD: Final = ("alert", "cause", "cooldown", "first", "holds", "flaps", "over", "end", "also told")


def page(stories: Collection[Story], at: Pace, factor: str) -> str:
    """The document's text. `factor` is as it was given, 1/20."""
    flaps = [story.flaps for story in stories if not story.cause.remembered]
    return _PAGE.format(
        factor=factor,
        versions=", ".join(_versions()),
        scrape=at.scrape,
        evaluation=at.evaluation,
        scrape_stands=_clock(at.scrape / at.factor),
        evaluation_stands=_clock(at.evaluation / at.factor),
        flaps=_times(flaps),
        rows="\n".join(rows(stories, at)),
    )


def rows(stories: Iterable[Story], at: Pace) -> Iterable[str]:
    """The table, line by line."""
    yield _row(_HEAD)
    yield _row("---" for _ in _HEAD)
    for story in stories:
        cells = (
            story.cause.alert,
            story.cause.what,
            _clock(story.cooldown / at.factor),
            _clock((story.firing[0].at - story.began) / at.factor),
            *(_spacings(story.firing, *span, at) for span in _spans(story)),
            _clock((story.resolved[0].at - story.ended) / at.factor),
            ", ".join(
                sorted({notification.alert for notification in story.notifications} - {story.cause.alert})
            )
            or "-",
        )
        yield _row(cells)


def _spans(story: Story) -> tuple[tuple[float, float], ...]:
    return (story.began, story.flapped), (story.flapped, story.ended), (story.ended, float("inf"))


def _spacings(firing: list[Notification], begin: float, end: float, at: Pace) -> str:
    spacings = [gap for gap, later in zip(gaps(firing), firing[1:], strict=True) if begin <= later.at < end]
    if not spacings:
        return "-"
    least, most = _clock(min(spacings) / at.factor), _clock(max(spacings) / at.factor)
    times = "" if len(spacings) == 1 else f"{len(spacings)} times "
    return times + (least if least == most else f"{least} to {most}")


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
