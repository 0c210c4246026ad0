"""The picture of plans: the workers by hour of the week, and what each SLO costs."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import TYPE_CHECKING

from scaler.plan.demand import DAYS, HOURS_OF_WEEK
from scaler.plan.make import TargetPlan
from service.config.load import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_plans(plans: Sequence[TargetPlan], path: str, price: float | None = None) -> None:
    """A column for each plan. Raises ConfigError: the file cannot be written."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "oxherd"
    figure = Figure(figsize=(8 * len(plans), 7), layout="constrained")
    panels = figure.subplots(2, len(plans), squeeze=False)
    for column, plan in enumerate(plans):
        upper, lower = panels[0][column], panels[1][column]
        _draw_hours(upper, plan)
        _draw_slos(lower, plan, price)
    try:
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.endswith(".svg") else None)
    except (OSError, ValueError) as error:
        raise ConfigError("--plot", path, "command line", str(error)) from None


def _draw_hours(axes: Axes, plan: TargetPlan) -> None:
    hours = range(HOURS_OF_WEEK)
    known = [plan.hours.get(number) for number in hours]
    need = [hour.workers if hour else nan for hour in known]
    busy = [hour.busy / plan.concurrency if hour else nan for hour in known]
    axes.step(hours, need, where="post", color="black", lw=1.2, label="needed, as a fixed number")
    axes.step(hours, busy, where="post", color="grey", lw=1.0, label="busy, on average")
    for key, colour in (("min_workers", "#2980b9"), ("max_workers", "#c0392b")):
        number = getattr(plan.bounds, key)
        axes.axhline(number, color=colour, ls="--", lw=1.0, label=f"{key} {number}")
    axes.set(
        title=plan.target.name,
        ylabel="workers",
        xlabel="hour of the week (UTC)",
        xlim=(0, HOURS_OF_WEEK),
        xticks=range(0, HOURS_OF_WEEK, 24),
        xticklabels=DAYS,
    )
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")


def _draw_slos(axes: Axes, plan: TargetPlan, price: float | None) -> None:
    factor = 1.0 if price is None else price
    kept = [bounds for bounds in plan.by_slo if bounds.kept]
    axes.plot(
        [bounds.slo.seconds for bounds in kept],
        [bounds.worker_hours * factor for bounds in kept],
        "o-",
        color="#2c3e50",
        label="min_workers to max_workers",
    )
    for bounds in plan.by_slo:
        text = f"{bounds.min_workers} to {bounds.max_workers}" + ("" if bounds.kept else ", not kept")
        axes.annotate(
            text,
            (bounds.slo.seconds, bounds.worker_hours * factor),
            xytext=(0, 8),
            textcoords="offset points",
            fontsize="small",
            ha="center",
        )
        if not bounds.kept:
            axes.plot(bounds.slo.seconds, bounds.worker_hours * factor, "x", color="#c0392b")
    for hours, name, colour in (
        (plan.fixed_hours, f"a fixed number, {plan.fixed_workers}", "#c0392b"),
        (plan.scheduled_hours, "the number of each hour", "grey"),
    ):
        axes.axhline(hours * factor, color=colour, ls=":", lw=1.2, label=name)
    axes.set(xscale="log", xlabel=f"SLO (s) for {100 * plan.bounds.slo.within:.4g} % of the jobs")
    seconds = [bounds.slo.seconds for bounds in plan.by_slo]
    axes.minorticks_off()
    axes.set_xticks(seconds, [f"{each:g}" for each in seconds])
    axes.set_ylabel("worker-hours a week" if price is None else "price of a week")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.12)
    axes.legend(fontsize="small")
