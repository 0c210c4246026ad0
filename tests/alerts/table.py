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
from tests.alerts.monitoring import Pace
from tests.alerts.story import Story, gaps

_BULLMQ: Final = Path(__file__).parents[2] / "lab" / "node" / "node_modules" / "bullmq6" / "package.json"
_PAGE: Final = """\
# The eight alerts, measured

Each alert was provoked by its real cause, with the shipped rules and routes in {share} of their time, on {versions}.
All figures are what was measured divided by that, in minutes and seconds. Prometheus scraped and evaluated every
{scrape:g} s and {evaluation:g} s, so that what waits for these is up to {blur} more than in production.

- **first**: from the cause to the first notification, which waits for the alert's `for`.
- **holds, flaps, over**: between two notifications; the later one came while the cause held, while it came and went
  ({flaps}), or after it was gone and `keep_firing_for` kept the alert.
- **end**: from the end of the cause to the one notification that says so; `keep_firing_for` is the cooldown.

Nothing else was told of any of the jobs. {remembered}

{rows}

Written by `OXHERD_ALERTS_FACTOR={factor} OXHERD_ALERTS_TABLE=docs/alerts-measured.md make test-alerts`.
"""
_HEAD: Final = ("alert", "cause", "cooldown", "first", "holds", "flaps", "over", "end")


def page(stories: Collection[Story], at: Pace, factor: str) -> str:
    """The document's text. `factor` is as it was given, 1/20."""
    flaps = [f"{story.flaps} times" for story in stories if not story.cause.remembered]
    return _PAGE.format(
        share=factor,
        factor=factor,
        versions=", ".join(_versions()),
        scrape=at.scrape,
        evaluation=at.evaluation,
        blur=_clock((at.scrape + at.evaluation) / at.factor),
        flaps=f"{min(flaps)} to {max(flaps)} seen" if flaps else "",
        remembered="",
        rows="\n".join(_rows(stories, at)),
    )


def _rows(stories: Iterable[Story], at: Pace) -> Iterable[str]:
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
        )
        yield _row(cells)


def _spans(story: Story) -> tuple[tuple[float, float], ...]:
    return (story.began, story.flapped), (story.flapped, story.ended), (story.ended, float("inf"))


def _spacings(firing: list[Notification], begin: float, end: float, at: Pace) -> str:
    found = [gap for gap, later in zip(gaps(firing), firing[1:], strict=True) if begin <= later.at < end]
    return ", ".join(_clock(gap / at.factor) for gap in found) or "-"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


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
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else "of an unknown version"
