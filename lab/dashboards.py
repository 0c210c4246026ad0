"""Runs the queries of a Grafana dashboard's JSON on a Prometheus and draws its panels, without Grafana.

The drawing shows the position and the legibility of the panels; it does not imitate Grafana.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx

DashboardJson: TypeAlias = dict[str, Any]
LabeledSeries: TypeAlias = tuple[dict[str, str], list[tuple[float, float]]]

RATE_SECONDS: Final = 30
_STEP: Final = 2
_UNIT: Final = 0.42  # inches a unit of a panel's height
_WIDE: Final = 24.0  # inches of 24 columns
_LEGEND_LINES: Final = 12


@dataclass(frozen=True)
class QueryResults:
    """The series of each query of each panel, by the panel's id; the values of each variable."""

    panels: Mapping[int, Sequence[Sequence[LabeledSeries]]]
    variables: Mapping[str, Sequence[str]]


class GrafanaQueries:
    """Sends the queries that Grafana sends."""

    def __init__(self, url: str, seconds: float) -> None:
        """`seconds`: the length of the time range."""
        self._url = url
        self._seconds = seconds

    def values(self, query: str) -> list[str]:
        """The values of label_values(metric, label)."""
        inner = query.removeprefix("label_values(").removesuffix(")")
        metric, _, label = inner.rpartition(",")
        values = self._get(f"label/{label.strip()}/values", {"match[]": metric.strip(), **self._times()})
        return [str(value) for value in values]

    def series(self, query: str, *, instant: bool) -> list[LabeledSeries]:
        """A range query over the time range, or an instant query at its end."""
        if instant:
            result = self._get("query", {"query": query})["result"]
            return [(series["metric"], [_point(series["value"])]) for series in result]
        result = self._get("query_range", {"query": query, "step": str(_STEP), **self._times()})["result"]
        return [(series["metric"], [_point(point) for point in series["values"]]) for series in result]

    def _times(self) -> dict[str, str]:
        end = time.time()
        return {"start": f"{end - self._seconds:.3f}", "end": f"{end:.3f}"}

    def _get(self, path: str, query: Mapping[str, str]) -> Any:
        response = httpx.get(f"{self._url}/api/v1/{path}", params=dict(query), timeout=20)
        assert response.status_code == 200, f"{response.text}: {query}"
        return response.json()["data"]


def panels(dashboard: DashboardJson) -> Iterator[DashboardJson]:
    """All panels except the headings of rows."""
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def variables(dashboard: DashboardJson) -> Iterator[DashboardJson]:
    """The variables whose values are queried."""
    return (variable for variable in dashboard["templating"]["list"] if variable["type"] == "query")


def run_queries(dashboard: DashboardJson, prometheus: GrafanaQueries, seconds: float) -> QueryResults:
    """The results of every query of every panel and variable, with all values selected."""
    chosen: dict[str, Sequence[str]] = {}
    for variable in variables(dashboard):
        query = substituted(variable["query"]["query"], chosen, seconds)
        chosen[variable["name"]] = prometheus.values(query)
    results = {
        panel["id"]: [
            prometheus.series(substituted(target["expr"], chosen, seconds), instant=target["instant"])
            for target in panel["targets"]
        ]
        for panel in panels(dashboard)
    }
    return QueryResults(results, chosen)


def substituted(query: str, chosen: Mapping[str, Sequence[str]], seconds: float) -> str:
    """The query with the values of the variables, as Grafana writes them into a regular expression."""
    times = {
        "$__rate_interval": f"{RATE_SECONDS}s",
        "$__range_s": f"{seconds:.0f}",
        "$__range": f"{seconds:.0f}s",
    }
    for name, value in times.items():
        query = query.replace(name, value)
    for name, values in chosen.items():
        query = query.replace(f"${name}", "|".join(_escaped(value) for value in values) or ".*")
    return query


def _escaped(value: str) -> str:
    """The value escaped for a regular expression within a PromQL string."""
    return "".join("\\\\" + char if char in "{}[]().*+?|^$\\" else char for char in value)


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


# --- drawing -----------------------------------------------------------------------------------------------


def draw(dashboard: DashboardJson, results: QueryResults, file: Path) -> None:
    """Draw the dashboard with each panel at its position."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    with mpl.rc_context({"font.size": 8, "axes.titlesize": 9}):
        figure = plt.figure(figsize=(_WIDE, height * _UNIT))
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            box = (
                (place["x"] + 0.15) / 24,
                1 - (place["y"] + place["h"] - 0.1) / height,
                (place["w"] - 0.3) / 24,
                (place["h"] - 0.2) / height,
            )
            if panel["type"] == "row":
                figure.text(box[0], box[1] + box[3] / 2, panel["title"], weight="bold", size=11, va="center")
            else:
                _draw_panel(figure, box, panel, results.panels[panel["id"]], height)
        figure.savefig(file, dpi=70)
        plt.close(figure)


def _draw_panel(
    figure: Any,
    box: tuple[float, ...],
    panel: DashboardJson,
    results: Sequence[Sequence[LabeledSeries]],
    height: float,
) -> None:
    left, bottom, width, high = box
    frame = figure.add_axes(box)
    frame.set_xticks([])
    frame.set_yticks([])
    frame.text(0.01, 0.97, panel["title"], va="top", size=10)
    top = 0.9 / height
    legend = 0.34 if panel["type"] == "timeseries" else 0.0
    inner = (
        left + 0.045 * width + 0.012,
        bottom + 0.7 / height,
        width * (0.94 - legend) - 0.012,
        high - top - 0.8 / height,
    )
    lines = [
        (_legend(target["legendFormat"], labels), points)
        for target, series in zip(panel["targets"], results, strict=True)
        for labels, points in series
    ]
    if not lines:
        no_value = panel["fieldConfig"]["defaults"].get("noValue", "no data")
        frame.text(0.5, 0.45, no_value, ha="center", color="grey")
    elif panel["type"] in {"stat", "bargauge"}:
        _bars(figure.add_axes(inner), lines)
    elif panel["type"] == "table":
        _table(frame, panel, results)
    elif panel["type"] == "heatmap":
        _heat(figure.add_axes(inner), results[0])
    else:
        _plot(figure.add_axes(inner), frame, panel, lines)


def _legend(form: str, labels: Mapping[str, str]) -> str:
    if form == "__auto":
        return ", ".join(f"{key}={value}" for key, value in labels.items() if key != "__name__")
    for key, value in labels.items():
        form = form.replace("{{" + key + "}}", value)
    return form


def _plot(
    axes: Any, frame: Any, panel: DashboardJson, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]
) -> None:
    begin = min(points[0][0] for _, points in lines)
    if panel["type"] == "state-timeline":
        for place, (name, points) in enumerate(lines):
            colors = [_color(panel, value) for _, value in points]
            axes.scatter([at - begin for at, _ in points], [place] * len(points), c=colors, marker="s", s=14)
            axes.text(0, place + 0.25, name, size=7)
        axes.set_yticks([])
        return
    ordered = sorted(lines, key=lambda line: -line[1][-1][1])
    for _, points in ordered:
        axes.plot([at - begin for at, _ in points], [value for _, value in points], linewidth=1)
    colors = [line.get_color() for line in axes.lines]
    shown = [f"{name[:34]}  {points[-1][1]:.4g}" for name, points in ordered[:_LEGEND_LINES]]
    step = 0.8 / _LEGEND_LINES
    for place, text in enumerate(shown):
        frame.text(0.66, 0.84 - place * step, text, size=6.5, color=colors[place], va="center")
    if len(ordered) > _LEGEND_LINES:
        frame.text(
            0.66, 0.84 - _LEGEND_LINES * step, f"(scroll: {len(ordered)} in all)", size=6.5, va="center"
        )


def _color(panel: DashboardJson, value: float) -> str:
    mappings = panel["fieldConfig"]["defaults"]["mappings"]
    options = mappings[0]["options"] if mappings else {}
    return str(options.get(f"{value:.0f}", {"color": "grey"})["color"])


def _bars(axes: Any, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> None:
    ordered = lines[:12]
    axes.barh(range(len(ordered)), [points[-1][1] for _, points in ordered], color="tab:green", alpha=0.4)
    axes.set_yticks([])
    for place, (name, points) in enumerate(ordered):
        axes.text(0, place, f" {name}  {points[-1][1]:.4g}", va="center")
    axes.invert_yaxis()


def _table(frame: Any, panel: DashboardJson, results: Sequence[Sequence[LabeledSeries]]) -> None:
    names = panel["transformations"][1]["options"]["renameByName"]
    columns = [
        names.get(f"Value #{chr(65 + place)}", names.get("Value", "")) for place in range(len(results))
    ]
    extra: dict[str, str] = {}
    all_labels = [labels.keys() for series in results for labels, _ in series]
    common = frozenset.intersection(*map(frozenset, all_labels)) if all_labels else frozenset()
    rows: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for column, series in zip(columns, results, strict=True):
        for labels, points in series:
            key = tuple(
                sorted((label, labels[label]) for label in common)
            )  # as Grafana's merge transformation
            row = rows.setdefault(key, {})
            if column:
                row[column] = points[-1][1]
            else:
                extra[str(key)] = " ".join(labels[label] for label in sorted(labels.keys() - common))
    columns = [column for column in columns if column]
    shown = list(rows.items())[:16]
    cells = [
        [
            " ".join([*(value for _, value in key), extra.get(str(key), "")])[:44],
            *(f"{row[c]:.4g}" if c in row else "" for c in columns),
        ]
        for key, row in shown
    ]
    table = frame.table(
        cellText=cells, colLabels=["", *columns], bbox=(0.01, 0.02, 0.98, 0.82), edges="horizontal"
    )
    table.auto_set_font_size(value=False)
    table.set_fontsize(7)


def _heat(axes: Any, series: Sequence[LabeledSeries]) -> None:
    """Buckets are cumulative: the next lower bucket is subtracted from each."""
    ordered = sorted(series, key=lambda bucket: float(bucket[0].get("le", "inf").replace("+Inf", "inf")))
    times = sorted({at for _, points in ordered for at, _ in points})
    below = dict.fromkeys(times, 0.0)
    grid = []
    for _, points in ordered:
        values = dict(points)
        grid.append([max(0.0, values.get(at, below[at]) - below[at]) for at in times])
        below |= values
    axes.imshow(grid, aspect="auto", origin="lower", cmap="Oranges", interpolation="nearest")
    axes.set_yticks(
        range(0, len(ordered), 3), [ordered[n][0].get("le", "") for n in range(0, len(ordered), 3)], size=6
    )
