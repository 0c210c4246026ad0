"""What is written by hand names all that there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest

import exporter
import scaler
import service
from exporter.api.forward import ScalerClient as ScalerAddress
from exporter.api.routes import make_monitoring_api as make_exporter_api
from exporter.cli import main as monitor
from exporter.config.settings import Penalties
from exporter.health import RULES
from exporter.views import About, status_view
from scaler.api.routes import make_scaling_api as make_scaler_api
from scaler.cli import main as scaling
from service.api.actions import Api
from tests.support.assessments import assessment

DOCS = Path(__file__).parents[2] / "docs"
API, COMMANDS = (DOCS / "api.md").read_text(), (DOCS / "commands.md").read_text()
SOURCES = "\n".join(
    path.read_text()
    for package in (exporter, scaler, service)
    for path in sorted(Path(package.__path__[0]).rglob("*.py"))
)

NOBODY: Any = None
APIS = {
    "exporter": make_exporter_api(NOBODY, ScalerAddress(None, 1)),
    "scaler": make_scaler_api(NOBODY),
}


@pytest.mark.parametrize("name", sorted(APIS))
def test_every_action_and_its_keys_are_in_the_guide(name: str) -> None:
    api: Api = APIS[name]
    for action, command in api.commands.items():
        assert f"| `{action}` |" in API
        if action != "update_scaling_config":  # a policy's keys are documented with the settings
            keys = command.body.model_json_schema(by_alias=True)["properties"]
            assert not {key for key in keys if f"`{key}`" not in API} - {"action", "apiKey"}
    for action, question in api.queries.items():
        assert f"| `{action}` |" in API
        if hasattr(question.model, "model_json_schema"):
            keys = question.model.model_json_schema(by_alias=True)["properties"]
            assert not {key for key in keys if f"`{key}`" not in API}, action


def test_the_keys_of_json_are_in_the_guide() -> None:
    view = status_view(assessment(), About("1.2.3", monitoring=True, uptime=1.0))
    nested = [view["health"], view["health"]["issues"][0], view["redis"], view["queues"]]
    keys = {key for one in (view, *nested) for key in one}
    assert not {key for key in keys if f"`{key}`" not in COMMANDS}


def test_an_action_of_the_guide_is_one() -> None:
    told = set(re.findall(r"^\| `([a-z]+_[a-z_]+)` \|", API, re.MULTILINE))
    assert told == {action for api in APIS.values() for action in (*api.queries, *api.commands)}


@pytest.mark.parametrize(("group", "name"), [(monitor, "monitor"), (scaling, "scaling")])
def test_every_command_is_in_the_guide(group: click.Group, name: str) -> None:
    for command in group.commands:
        assert f"`{name} {command}" in COMMANDS or f"`{command}`" in COMMANDS
    shared = {"--help", "--version"}
    for command in ("status", "start"):
        options = {one for option in group.commands[command].params for one in option.opts}
        assert not {one for one in options if f"`{one}" not in COMMANDS} - shared


def test_the_score_is_what_the_guide_says() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| [\w, ]+ \| .+ \| (\d+) \|$", (DOCS / "health.md").read_text(), re.MULTILINE
    )
    points = Penalties().model_dump()
    assert {name: int(number) for name, number in rows} == {name: points[name] for name in RULES}


def test_the_events_of_the_guide_are_logged() -> None:
    text = (DOCS / "logs.md").read_text()
    rows = re.findall(r"^\| (`.+?`) \| (?:exporter|scaler|both) \|", text, re.MULTILINE)
    events = {event for row in rows for event in re.findall(r"`([^`]+)`", row)}
    tailed = {one.strip('"') for tail in re.findall(r"'event=\((.+)\)'", text) for one in tail.split("|")}
    assert len(tailed) > 10
    assert tailed <= events
    assert {event for event in events if f'"{event}"' not in SOURCES} == set()
