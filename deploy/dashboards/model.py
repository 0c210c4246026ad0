"""Dashboards as values, and the JSON that Grafana 10 and later loads (schema version 39). Pure.

Panels flow from left to right over 24 columns, in rows; ids and places follow from the order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

Json: TypeAlias = dict[str, Any]

COLUMNS: Final = 24
SCHEMA_VERSION: Final = 39
TAG: Final = "oxherd"

_SOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
_GREEN, _YELLOW, _RED = "green", "yellow", "red"


@dataclass(frozen=True)
class Query:
    """PromQL. `legend` is Grafana's, such as {{queue}}; `column` what a table calls its values: without a
    name only the labels are shown."""

    expr: str
    legend: str = ""
    column: str = ""
    instant: bool = False


@dataclass(frozen=True)
class Thresholds:
    """Colours from values on: the first holds below all others."""

    steps: Sequence[tuple[float | None, str]]

    @classmethod
    def rising(cls, warning: float, bad: float) -> Thresholds:
        """More is worse."""
        return cls(((None, _GREEN), (warning, _YELLOW), (bad, _RED)))

    @classmethod
    def falling(cls, warning: float, good: float) -> Thresholds:
        """Less is worse: yellow from `warning`, green from `good`."""
        return cls(((None, _RED), (warning, _YELLOW), (good, _GREEN)))

    @classmethod
    def wanted(cls) -> Thresholds:
        """0 is red, 1 is green."""
        return cls(((None, _RED), (1, _GREEN)))

    def json(self) -> Json:
        steps = [{"color": color, "value": value} for value, color in self.steps]
        return {"mode": "absolute", "steps": steps}


PLAIN: Final = Thresholds(((None, _GREEN),))

Kind: TypeAlias = Literal["stat", "timeseries", "table", "heatmap", "state-timeline", "bargauge", "text"]


@dataclass(frozen=True)
class Panel:
    """`width` of 24 columns, `height` in Grafana's units of 30 pixels. `unit` is Grafana's id."""

    title: str
    description: str
    queries: Sequence[Query]
    kind: Kind = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    thresholds: Thresholds = PLAIN
    stacked: bool = False
    bars: bool = False
    minimum: float | None = 0
    maximum: float | None = None
    texts: Mapping[str, str] = field(default_factory=dict)  # value -> what is shown for it
    well: str = "1"  # the one of them that is green
    units: Mapping[str, str] = field(default_factory=dict)  # a table's column -> its unit
    nothing: str = ""  # what stands there when there is nothing
    link: tuple[str, str] | None = None  # title and URL

    def targets(self) -> list[Json]:
        """One a query, with its letter."""
        return [self._target(place, query) for place, query in enumerate(self.queries)]

    def _target(self, place: int, query: Query) -> Json:
        form = {"table": "table", "heatmap": "heatmap"}.get(self.kind, "time_series")
        instant = query.instant or self.kind in {"table", "bargauge"}
        target: Json = {
            "refId": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[place],
            "datasource": dict(_SOURCE),
            "editorMode": "code",
            "expr": query.expr,
            "format": form,
            "instant": instant,
            "range": not instant,
            "legendFormat": query.legend or "__auto",
        }
        return target


@dataclass(frozen=True)
class Row:
    """Panels under a heading; `repeat`: once for each value of that variable."""

    title: str
    panels: Sequence[Panel]
    repeat: str | None = None


@dataclass(frozen=True)
class Variable:
    """A choice of label values: of `label`, in the series of `metric`."""

    name: str
    label: str
    metric: str
    heading: str
    multi: bool = True

    @property
    def query(self) -> str:
        return f"label_values({self.metric}, {self.label})"

    def json(self) -> Json:
        chosen = {"selected": True, "text": ["All"], "value": ["$__all"]}
        return {
            "name": self.name,
            "label": self.heading,
            "type": "query",
            "datasource": dict(_SOURCE),
            "query": {"query": self.query, "refId": f"variable-{self.name}"},
            "refresh": 2,  # when the time range changes: queues come and go
            "sort": 1,
            "multi": self.multi,
            "includeAll": self.multi,
            "allValue": ".*",
            "current": chosen,
            "hide": 0,
            "options": [],
            "regex": "",
            "skipUrlSync": False,
        }


@dataclass(frozen=True)
class Annotation:
    """A mark in every plot where the query is above 0."""

    name: str
    expr: str
    text: str
    color: str

    def json(self) -> Json:
        return {
            "name": self.name,
            "datasource": dict(_SOURCE),
            "enable": True,
            "hide": False,
            "iconColor": self.color,
            "target": {"expr": self.expr, "interval": "30s", "refId": "Anno"},
            "titleFormat": self.text,
            "textFormat": self.text,
            "useValueForTime": False,
        }


@dataclass(frozen=True)
class Dashboard:
    """`uid` is part of its address and never changes."""

    uid: str
    title: str
    description: str
    variables: Sequence[Variable]
    rows: Sequence[Row]
    annotations: Sequence[Annotation] = ()

    @property
    def panels(self) -> list[Panel]:
        """All of them, in order."""
        return [panel for row in self.rows for panel in row.panels]

    def json(self) -> Json:
        """What Grafana loads."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [TAG, "bullmq", "redis"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,  # one moment in all plots
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timepicker": {},
            "timezone": "browser",
            "fiscalYearStartMonth": 0,
            "links": [_other_dashboards()],
            "annotations": {"list": [_alerts(), *(annotation.json() for annotation in self.annotations)]},
            "templating": {"list": [_datasource(), *(variable.json() for variable in self.variables)]},
            "panels": list(_placed(self.rows)),
        }


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    """Every panel with its id and place, below a heading that is as wide as the page."""
    number, top = 1, 0
    for row in rows:
        heading: Json = {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        yield heading | ({"repeat": row.repeat} if row.repeat else {})
        number, top, left, height = number + 1, top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, height = top + height, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield _panel(panel, number, place)
            number, left, height = number + 1, left + panel.width, max(height, panel.height)
        top += height


def _panel(panel: Panel, number: int, place: Json) -> Json:
    defaults: Json = {
        "unit": panel.unit,
        "thresholds": panel.thresholds.json(),
        "color": {"mode": _color_mode(panel)},
        "mappings": _mappings(panel),
    }
    if panel.minimum is not None:
        defaults["min"] = panel.minimum
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.nothing:
        defaults["noValue"] = panel.nothing
    defaults["custom"] = _custom(panel)
    document: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": dict(_SOURCE),
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": _overrides(panel)},
        "options": _options(panel),
        "targets": panel.targets(),
    }
    if panel.kind == "table":
        document["transformations"] = _transformations(panel)
    if panel.link:
        title, url = panel.link
        document["links"] = [_link(title, url=url, type="link", targetBlank=True)]
    return document


def _color_mode(panel: Panel) -> str:
    return "palette-classic" if panel.kind == "timeseries" else "thresholds"


def _custom(panel: Panel) -> Json:
    if panel.kind == "timeseries":
        return {
            "drawStyle": "bars" if panel.bars else "line",
            "fillOpacity": 60 if panel.bars else (25 if panel.stacked else 5),
            "lineWidth": 1,
            "showPoints": "never",
            "spanNulls": False,  # absence is not zero, nor the value before
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    if panel.kind == "table":
        return {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True}
    if panel.kind == "state-timeline":
        return {"fillOpacity": 80, "lineWidth": 0}
    return {}


def _options(panel: Panel) -> Json:
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    match panel.kind:
        case "stat":
            return {
                "reduceOptions": reduce,
                "colorMode": "value",
                "graphMode": "area",
                "justifyMode": "auto",
                "orientation": "auto",
                "textMode": "auto",
            }
        case "bargauge":
            return {"reduceOptions": reduce, "displayMode": "basic", "orientation": "horizontal"}
        case "timeseries":
            # A table at the side scrolls: fifty queues do not push the plot away.
            return {
                "legend": {
                    "displayMode": "table",
                    "placement": "right",
                    "calcs": ["lastNotNull", "max"],
                    "showLegend": True,
                    "sortBy": "Last *",
                    "sortDesc": True,
                },
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        case "heatmap":
            return {
                "calculate": False,
                "cellGap": 1,
                "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
                "yAxis": {"unit": panel.unit, "axisPlacement": "left"},
                "legend": {"show": True},
                "tooltip": {"mode": "single", "yHistogram": False},
                "rowsFrame": {"layout": "auto"},
                "filterValues": {"le": 1e-9},
            }
        case "state-timeline":
            return {
                "mergeValues": True,
                "showValue": "never",
                "rowHeight": 0.8,
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
                "tooltip": {"mode": "single", "sort": "none"},
            }
        case "table":
            return {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"]}}
    return {}


def _overrides(panel: Panel) -> list[Json]:
    return [
        {
            "matcher": {"id": "byName", "options": column},
            "properties": [{"id": "unit", "value": unit}],
        }
        for column, unit in panel.units.items()
    ]


def _transformations(panel: Panel) -> list[Json]:
    """One line for each set of labels, a column for each query."""
    names = {f"Value #{chr(65 + place)}": query.column for place, query in enumerate(panel.queries)}
    if len(panel.queries) == 1:
        names = {"Value": panel.queries[0].column}
    unnamed = {key: True for key, column in names.items() if not column}
    hidden = {"Time": True, "__name__": True, "job": True, "instance": True} | unnamed
    names = {key: column for key, column in names.items() if column}
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": hidden, "indexByName": {}, "renameByName": names}},
    ]


def _mappings(panel: Panel) -> list[Json]:
    if not panel.texts:
        return []
    options = {
        value: {"text": text, "index": index, "color": _GREEN if value == panel.well else _RED}
        for index, (value, text) in enumerate(panel.texts.items())
    }
    return [{"type": "value", "options": options}]


def _datasource() -> Json:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {"selected": False, "text": "default", "value": "default"},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
    }


def _other_dashboards() -> Json:
    return _link("Oxherd", type="dashboards", tags=[TAG], includeVars=True, keepTime=True)


def _link(title: str, **more: Any) -> Json:
    link: Json = {
        "title": title,
        "type": "link",
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
    return link | more


def _alerts() -> Json:
    """Grafana's own, which it expects first."""
    return {
        "name": "Annotations & Alerts",
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "type": "dashboard",
    }
