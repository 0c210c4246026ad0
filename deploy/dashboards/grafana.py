"""The JSON of a dashboard that Grafana 10 and later loads (schema version 39). Pure.

Panels are placed from left to right over 24 columns, in rows; ids and positions follow from the order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from deploy.dashboards.model import (
    GREEN,
    RED,
    Annotation,
    Dashboard,
    Panel,
    PanelQuery,
    PanelThresholds,
    Row,
    Variable,
)

GrafanaJson: TypeAlias = dict[str, Any]

GRID_COLUMNS: Final = 24
SCHEMA_VERSION: Final = 39
TAG: Final = "oxherd"

_SOURCE: Final[GrafanaJson] = {"type": "prometheus", "uid": "${datasource}"}


def grafana_json(dashboard: Dashboard) -> GrafanaJson:
    """The document that Grafana loads."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": [TAG, "bullmq", "redis"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,  # a shared crosshair in all graphs
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "fiscalYearStartMonth": 0,
        "links": [_other_dashboards()],
        "annotations": {"list": [_alerts(), *map(_annotation, dashboard.annotations)]},
        "templating": {"list": [_datasource(), *map(_variable, dashboard.variables)]},
        "panels": list(_placed(dashboard.rows)),
    }


def _placed(rows: Sequence[Row]) -> Iterator[GrafanaJson]:
    """Every panel with its id and position, below the heading of its row."""
    number, top = 1, 0
    for row in rows:
        heading: GrafanaJson = {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": GRID_COLUMNS, "h": 1},
            "panels": [],
        }
        yield heading | ({"repeat": row.repeat} if row.repeat else {})
        number, top, left, height = number + 1, top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > GRID_COLUMNS:
                top, left, height = top + height, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            yield _panel(panel, number, place)
            number, left, height = number + 1, left + panel.width, max(height, panel.height)
        top += height


def _panel(panel: Panel, number: int, place: GrafanaJson) -> GrafanaJson:
    defaults: GrafanaJson = {
        "unit": panel.unit,
        "thresholds": _thresholds(panel.thresholds),
        "color": {"mode": _color_mode(panel)},
        "mappings": _mappings(panel),
    }
    if panel.minimum is not None:
        defaults["min"] = panel.minimum
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.no_value:
        defaults["noValue"] = panel.no_value
    defaults["custom"] = _custom(panel)
    document: GrafanaJson = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": dict(_SOURCE),
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": _overrides(panel)},
        "options": _options(panel),
        "targets": _targets(panel),
    }
    if panel.kind == "table":
        document["transformations"] = _transformations(panel)
    if panel.link:
        title, url = panel.link
        document["links"] = [_link(title, url=url, type="link", targetBlank=True)]
    return document


def _color_mode(panel: Panel) -> str:
    return "palette-classic" if panel.kind == "timeseries" else "thresholds"


def _custom(panel: Panel) -> GrafanaJson:
    if panel.kind == "timeseries":
        return {
            "drawStyle": "bars" if panel.bars else "line",
            "fillOpacity": 60 if panel.bars else (25 if panel.stacked else 5),
            "lineWidth": 1,
            "showPoints": "never",
            "spanNulls": False,  # a missing value is neither zero nor the previous value
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    if panel.kind == "table":
        return {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True}
    if panel.kind == "state-timeline":
        return {"fillOpacity": 80, "lineWidth": 0}
    return {}


def _options(panel: Panel) -> GrafanaJson:
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
            # A table at the side scrolls, so that fifty queues leave room for the graph.
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


def _overrides(panel: Panel) -> list[GrafanaJson]:
    return [
        {
            "matcher": {"id": "byName", "options": column},
            "properties": [{"id": "unit", "value": unit}],
        }
        for column, unit in panel.units.items()
    ]


def _transformations(panel: Panel) -> list[GrafanaJson]:
    """A table with one row for each set of labels and one column for each query."""
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


def _mappings(panel: Panel) -> list[GrafanaJson]:
    if not panel.texts:
        return []
    options = {
        value: {"text": text, "index": index, "color": GREEN if value == panel.good_value else RED}
        for index, (value, text) in enumerate(panel.texts.items())
    }
    return [{"type": "value", "options": options}]


def _datasource() -> GrafanaJson:
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


def _other_dashboards() -> GrafanaJson:
    return _link("Oxherd", type="dashboards", tags=[TAG], includeVars=True, keepTime=True)


def _link(title: str, **more: Any) -> GrafanaJson:
    link: GrafanaJson = {
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


def _alerts() -> GrafanaJson:
    """Grafana's built-in annotations, which it expects first."""
    return {
        "name": "Annotations & Alerts",
        "builtIn": 1,
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
        "type": "dashboard",
    }


def _targets(panel: Panel) -> list[GrafanaJson]:
    """One target for each query, with its letter."""
    return [_target(panel, place, query) for place, query in enumerate(panel.queries)]


def _target(panel: Panel, place: int, query: PanelQuery) -> GrafanaJson:
    form = {"table": "table", "heatmap": "heatmap"}.get(panel.kind, "time_series")
    instant = query.instant or panel.kind in {"table", "bargauge"}
    target: GrafanaJson = {
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


def _thresholds(thresholds: PanelThresholds) -> GrafanaJson:
    steps = [{"color": color, "value": value} for value, color in thresholds.steps]
    return {"mode": "absolute", "steps": steps}


def _variable(variable: Variable) -> GrafanaJson:
    chosen = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return {
        "name": variable.name,
        "label": variable.heading,
        "type": "query",
        "datasource": dict(_SOURCE),
        "query": {"query": variable.query, "refId": f"variable-{variable.name}"},
        "refresh": 2,  # when the time range changes: queues come and go
        "sort": 1,
        "multi": variable.multi,
        "includeAll": variable.multi,
        "allValue": ".*",
        "current": chosen,
        "hide": 0,
        "options": [],
        "regex": "",
        "skipUrlSync": False,
    }


def _annotation(annotation: Annotation) -> GrafanaJson:
    return {
        "name": annotation.name,
        "datasource": dict(_SOURCE),
        "enable": True,
        "hide": False,
        "iconColor": annotation.color,
        "target": {"expr": annotation.expr, "interval": "30s", "refId": "Anno"},
        "titleFormat": annotation.text,
        "textFormat": annotation.text,
        "useValueForTime": False,
    }
