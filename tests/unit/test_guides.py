"""What is written by hand names all that there is."""

from __future__ import annotations

import ast
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
from exporter.views import About, status_view
from scaler.api.routes import make_scaling_api as make_scaler_api
from scaler.cli import main as scaling
from service.api.actions import Api
from tests.support.assessments import assessment

DOCS = Path(__file__).parents[2] / "docs"
API, COMMANDS = (DOCS / "api.md").read_text(), (DOCS / "commands.md").read_text()
SOURCE_FILES = [
    path
    for package in (exporter, scaler, service)
    for path in sorted(Path(package.__path__[0]).rglob("*.py"))
]
SOURCES = "\n".join(file.read_text() for file in SOURCE_FILES)

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
    keys = {key for part in (view, *nested) for key in part}
    assert not {key for key in keys if f"`{key}`" not in COMMANDS}


def test_an_action_of_the_guide_is_one() -> None:
    documented = set(re.findall(r"^\| `([a-z]+_[a-z_]+)` \|", API, re.MULTILINE))
    assert documented == {action for api in APIS.values() for action in (*api.queries, *api.commands)}


@pytest.mark.parametrize(("group", "name"), [(monitor, "monitor"), (scaling, "scaling")])
def test_every_command_is_in_the_guide(group: click.Group, name: str) -> None:
    for command in group.commands:
        assert f"`{name} {command}" in COMMANDS or f"`{command}`" in COMMANDS
    shared = {"--help", "--version"}
    for command in ("status", "start"):
        options = {flag for option in group.commands[command].params for flag in option.opts}
        assert not {flag for flag in options if f"`{flag}" not in COMMANDS} - shared


def test_the_events_of_the_guide_are_logged() -> None:
    text = (DOCS / "logs.md").read_text()
    rows = re.findall(r"^\| (`.+?`) \| (?:exporter|scaler|both) \|", text, re.MULTILINE)
    events = {event for row in rows for event in re.findall(r"`([^`]+)`", row)}
    tailed = {event.strip('"') for tail in re.findall(r"'event=\((.+)\)'", text) for event in tail.split("|")}
    assert len(tailed) > 10
    assert tailed <= events
    assert {event for event in events if f'"{event}"' not in SOURCES} == set()
    assert logged_events() - events == set()


def logged_events() -> set[str]:
    """The events of log calls above debug; a call whose event is a variable is not seen."""
    events: set[str] = set()
    for source in (file.read_text() for file in SOURCE_FILES):
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[first, *rest]):
                    arguments = rest[:1] if level == "log" else [first]
                    arguments = [] if level == "debug" else arguments
                case ast.Call(func=ast.Name(id="ProblemLog"), args=[_, *arguments]):
                    pass
                case _:
                    continue
            constants = [argument.value for argument in arguments if isinstance(argument, ast.Constant)]
            events |= {value for value in constants if isinstance(value, str)}
    assert len(events) > 40
    return events
