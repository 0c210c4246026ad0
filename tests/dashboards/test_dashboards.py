"""The dashboards' files: they match the code, and follow the rules of portable dashboards."""

from __future__ import annotations

import json
import re
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from deploy.dashboards.__main__ import dashboard_files, dashboards
from deploy.dashboards.__main__ import main as write_or_check
from deploy.dashboards.grafana import GRID_COLUMNS, grafana_json
from deploy.dashboards.model import Dashboard, Panel, PanelQuery, Row
from lab.dashboards import panels, variables
from lab.prometheus import promtool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "grafana" / "dashboards"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
PANELS = [
    pytest.param(panel, id=f"{uid} {panel['id']}: {panel['title']}")
    for uid, dashboard in DASHBOARDS.items()
    for panel in panels(dashboard)
]
EACH = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=list(DASHBOARDS))

UNITS = {"short", "s", "h", "bytes", "Bps", "ops", "percentunit"}
NO_JOB = {
    "Firing alerts": "ALERTS has the labels of the rules' results, of any job",
}
"""Panels whose queries need not name the job, and why."""


LINTER = {
    "template-datasource": "test_a_dashboard_can_be_provisioned",
    "template-job": "test_a_dashboard_can_be_provisioned",
    "template-on-time-change-reload": "test_a_dashboard_can_be_provisioned",
    "uneditable": "test_a_dashboard_can_be_provisioned",
    "panel-datasource": "test_a_panel_has_a_title_a_description_and_a_unit",
    "panel-title-description": "test_a_panel_has_a_title_a_description_and_a_unit",
    "panel-units": "test_a_panel_has_a_title_a_description_and_a_unit",
    "panel-no-targets": "test_a_panel_has_a_title_a_description_and_a_unit",
    "target-job": "test_a_query_is_valid_for_any_selection",
    "target-rate-interval": "test_a_query_is_valid_for_any_selection",
    "target-counter-agg": "test_a_query_is_valid_for_any_selection",
    "target-promql": "test_every_expression_is_promql",
    "template-label-promql": "",  # tests/e2e/test_dashboards.py runs each query
    "template-instance": "",  # a queue has no instance, and a node is selected by `node`
    "target-instance": "",  # the same
    "panel-logql": "",  # there are no log panels
    "target-logql": "",
}
"""The rules of the dashboard linter and the test of each; "" for an exception, with its reason."""


def test_every_rule_has_its_test() -> None:
    assert {name for name in LINTER.values() if name} <= globals().keys()


def test_the_files_match_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert write_or_check(["--check"]) == 0
    assert {path.stem for path in dashboard_files()} == set(DASHBOARDS)
    assert write_or_check([]) == 2
    assert "usage" in capsys.readouterr().err


def test_there_are_five_with_stable_uids() -> None:
    assert list(DASHBOARDS) == sorted(
        ["oxherd-host", "oxherd-overview", "oxherd-queues", "oxherd-redis", "oxherd-scaling"]
    )
    assert next(iter(dashboards())).uid == "oxherd-overview"


@EACH
def test_a_dashboard_can_be_provisioned(dashboard: dict[str, Any]) -> None:
    """Rules template-datasource, template-on-time-change-reload and uneditable of the dashboard linter."""
    first, *others = dashboard["templating"]["list"]
    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    assert others[0]["name"] == "job"
    assert all(variable["refresh"] == 2 for variable in variables(dashboard))
    assert all(variable["datasource"]["uid"] == "${datasource}" for variable in variables(dashboard))
    assert dashboard["editable"] is False
    assert "__inputs" not in dashboard
    assert dashboard["tags"][0] == "oxherd"
    assert dashboard["links"][0]["tags"] == ["oxherd"]
    assert dashboard["description"]


@EACH
def test_variables_depend_on_the_previous_ones(dashboard: dict[str, Any]) -> None:
    for before, variable in pairwise(variables(dashboard)):
        used = set(re.findall(r"\$(\w+)", variable["query"]["query"]))
        assert before["name"] in used


@EACH
def test_ids_are_unique_and_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(p["x"] >= 0 and p["x"] + p["w"] <= GRID_COLUMNS and p["h"] > 0 for p in places)
    for place, other in combinations(places, 2):
        beside = place["x"] + place["w"] <= other["x"] or other["x"] + other["w"] <= place["x"]
        below = place["y"] + place["h"] <= other["y"] or other["y"] + other["h"] <= place["y"]
        assert beside or below, (place, other)


def test_panels_that_do_not_fit_into_a_row_are_placed_below() -> None:
    def panel(width: int, height: int) -> Panel:
        return Panel("t", "d", [PanelQuery("up")], width=width, height=height)

    row = Row("r", [panel(16, 4), panel(8, 6), panel(12, 2)])
    document = grafana_json(Dashboard("u", "t", "d", [], [row]))
    assert [item["gridPos"] for item in panels(document)] == [
        {"x": 0, "y": 1, "w": 16, "h": 4},
        {"x": 16, "y": 1, "w": 8, "h": 6},
        {"x": 0, "y": 7, "w": 12, "h": 2},
    ]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_a_title_a_description_and_a_unit(panel: dict[str, Any]) -> None:
    """Rules panel-title-description, panel-datasource, panel-units and panel-no-targets."""
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["targets"]
    assert [target["refId"] for target in panel["targets"]] == list(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(panel["targets"])]
    )
    for link in panel.get("links", []):
        page = link["url"].partition("/docs/")[2]
        assert (ROOT / "docs" / "runbooks" / page.removeprefix("runbooks/")).resolve().exists(), link


@pytest.mark.parametrize("panel", PANELS)
def test_a_query_is_valid_for_any_selection(panel: dict[str, Any]) -> None:
    """Rules target-job, target-rate-interval and target-counter-agg; variables are regular expressions."""
    for target in panel["targets"]:
        expression = target["expr"]
        assert 'job=~"$job"' in expression or panel["title"] in NO_JOB, expression
        assert not re.search(r'\w+="\$', expression), expression
        for window in re.findall(r"\[([^\]]+)\]", expression):
            fixed = target["instant"] or window in {"$__rate_interval", "$__range"} or window == "1h"
            assert fixed, (window, expression)
        for counter in re.findall(r"\b(\w+_total|\w+_bucket)\{", expression):
            assert re.search(rf"(rate|increase)\({counter}\{{", expression), counter


def test_every_exception_is_needed() -> None:
    without = {
        panel.values[0]["title"]  # type: ignore[index]
        for panel in PANELS
        for target in panel.values[0]["targets"]  # type: ignore[index]
        if 'job=~"$job"' not in target["expr"]
    }
    assert without == set(NO_JOB)


def test_every_expression_is_promql(tmp_path: Path) -> None:
    expressions = [
        target["expr"]
        for dashboard in DASHBOARDS.values()
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]
    expressions += [
        note["target"]["expr"]
        for dashboard in DASHBOARDS.values()
        for note in dashboard["annotations"]["list"]
        if "target" in note
    ]
    rules = [
        {
            "record": f"r:{number}",
            "expr": re.sub(r"\$__range_s", "300", re.sub(r"\$__\w+\]", "5m]", expression)),
        }
        for number, expression in enumerate(expressions)
    ]
    file = tmp_path / "rules.json"
    file.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))
    result = promtool("check", "rules", str(file))
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(expressions)} rules found" in result.stdout
