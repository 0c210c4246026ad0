"""A recording as a picture: the wait of each job; jobs; workers and the reason of each decision."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from bench.trial.recording import Look, Recording, changes, waits

_COLOURS: Final = {
    "queue": "#d62728",
    "load": "#1f77b4",
    "due": "#17becf",
    "kept": "#ff7f0e",
    "held": "#b8b8b8",
    "busy": "#8c6d4f",
    "surplus": "#2ca02c",
    "throttled": "#9467bd",
    "learning": "#e0d070",
    "min": "#777777",
    "max": "#000000",
}
_OTHER: Final = "#444444"
_WORDS: Final = {
    "rate": "{:g} times the jobs",
    "run": "{:g} times the run time",
    "limit": "at most {:g} starts/s",
    "pause": "paused",
    "restart": "workers terminated in turn",
}
_STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "oxherd",
    "font.family": "sans-serif",
    "font.size": 9,
}


def draw(recording: Recording, path: Path) -> None:
    """Write it as SVG; the dots are one bitmap in it."""
    with rc_context(_STYLE):  # type: ignore[arg-type] # its keys are literals
        figure = Figure(figsize=(9, 7.2), layout="constrained")
        panels = figure.subplots(3, 1, sharex=True, height_ratios=[3, 2, 3])
        _waits(panels[0], recording)
        _jobs(panels[1], recording)
        _workers(panels[2], recording)
        for panel in panels:
            for disturbance in recording.scenario.disturbances:
                panel.axvspan(disturbance.begin, disturbance.end, color="#f3ead2", zorder=0, lw=0)
            panel.axvspan(-recording.scenario.lead, 0, color="#eeeeee", zorder=0, lw=0)
            panel.grid(axis="y", color="#e8e8e8", lw=0.6)
            panel.spines[["top", "right"]].set_visible(False)
        panels[0].set_title(recording.scenario.title)
        panels[2].set(xlabel="seconds", xlim=(-recording.scenario.lead, recording.scenario.seconds))
        figure.savefig(path, format="svg", dpi=130, metadata={"Date": None})


def _waits(panel: Any, recording: Recording) -> None:
    jobs = [(job.added, wait, free) for job, wait, free in waits(recording)]
    slo = recording.plant.slo
    held = any(wait - free > 1 for _, wait, free in jobs)
    added = [at for at, _, _ in jobs]
    if held:
        dots(
            panel,
            added,
            [wait for _, wait, _ in jobs],
            "#c9c9c9",
            "wait, with the time in which no job may start",
        )
    dots(
        panel,
        added,
        [free for _, _, free in jobs],
        "#1f77b4",
        "wait of a job that can be taken" if held else "wait of a job",
    )
    panel.axhline(slo, color="#d62728", lw=1, ls="--")
    panel.annotate(
        f"SLO {slo:g} s",
        (0.005, slo),
        xycoords=("axes fraction", "data"),
        xytext=(0, 2),
        textcoords="offset points",
        color="#d62728",
    )
    panel.set(ylabel="wait (s), by when it came", ylim=(0, None))
    panel.set_ylim(0, max(1.15 * slo, panel.get_ylim()[1]))
    for disturbance in recording.scenario.disturbances:
        panel.annotate(
            _WORDS[disturbance.kind].format(disturbance.value),
            ((disturbance.begin + disturbance.end) / 2, 0.99),
            ha="center",
            va="top",
            xycoords=("data", "axes fraction"),
            color="#8a6d1d",
        )
    panel.annotate(
        "start, not counted",
        (-recording.scenario.lead / 2, 0.99),
        ha="center",
        va="top",
        xycoords=("data", "axes fraction"),
        color="#777777",
    )
    if held:
        panel.legend(loc="upper right", fontsize=8, frameon=False)


def dots(panel: Any, x: list[float], y: list[float], colour: str, label: str) -> None:
    panel.plot(x, y, ".", ms=2.5, color=colour, rasterized=True, label=label)


def _jobs(panel: Any, recording: Recording) -> None:
    times = [look.at for look in recording.looks]
    panel.fill_between(
        times, [look.waiting for look in recording.looks], step="post", color="#f0b27a", lw=0, label="waiting"
    )
    panel.step(
        times, [look.active for look in recording.looks], where="post", color="#1f4e79", lw=1, label="active"
    )
    panel.set(ylabel="jobs", ylim=(0, None))
    panel.legend(loc="upper right", fontsize=8, frameon=False, ncols=2)


def _workers(panel: Any, recording: Recording) -> None:
    looks = [look for look in recording.looks if look.at <= recording.scenario.seconds]
    times = [look.at for look in looks]
    panel.step(times, [look.requested for look in looks], where="post", color="#333333", lw=1.3)
    panel.step(times, [look.ready for look in looks], where="post", color="#2ca02c", lw=1, ls=":")
    for reason, begin, end in _stretches(looks):
        panel.axvspan(begin, end, ymin=0, ymax=0.05, color=_COLOURS.get(reason, _OTHER), lw=0)
    for _, after in changes(looks):
        panel.plot(after.at, after.requested, "o", ms=4.5, color=_COLOURS.get(after.reason, _OTHER))
    top = max(look.requested for look in looks)
    panel.set(ylabel="workers", ylim=(-0.07 * top, 1.1 * top))
    lines = panel.get_lines()[:2]
    seen = list(dict.fromkeys(look.reason for look in looks))
    panel.legend(
        [*lines, *(Patch(color=_COLOURS.get(reason, _OTHER)) for reason in seen)],
        ["requested", "ready", *seen],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.17),
        ncols=10,
        fontsize=8,
        frameon=False,
    )


def _stretches(looks: list[Look]) -> list[tuple[str, float, float]]:
    """Each reason, and the times in which it was the reason without a break."""
    stretches: list[tuple[str, float, float]] = []
    for look, after in pairwise(looks):
        if stretches and stretches[-1][0] == look.reason:
            stretches[-1] = (look.reason, stretches[-1][1], after.at)
        else:
            stretches.append((look.reason, look.at, after.at))
    return stretches
