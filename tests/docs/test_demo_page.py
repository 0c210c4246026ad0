"""docs/demo.md lists the parts and the actions of the demo, as its two tables declare them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.__main__ import main
from deploy.demo.actions import ACTIONS
from deploy.demo.parts import PARTS
from deploy.demo.ports import Ports
from deploy.rules.__main__ import RULE_FOLDER
from deploy.rules.alerts import eight
from deploy.rules.thresholds import AlertThresholds

PAGE = (Path(__file__).parents[2] / "docs" / "demo.md").read_text()
DEFAULTS: dict[str | None, Any] = {option.name: option.default for option in main.params}
PORTS = Ports(
    redis=DEFAULTS["redis_port"],
    exporter=DEFAULTS["exporter_port"],
    prometheus=DEFAULTS["prometheus_port"],
    alertmanager=DEFAULTS["alertmanager_port"],
    scaler=DEFAULTS["scaler_port"],
)
ALERTS = {alert.name for alert in eight(AlertThresholds.read(RULE_FOLDER / "thresholds.yml"))}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table in a section, without the header."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table[2:]]


def test_the_page_has_every_part_with_its_address() -> None:
    assert rows("What runs") == [[part.name, part.where(PORTS), part.what] for part in PARTS]


def test_the_page_has_every_action_and_its_alert() -> None:
    assert rows("Break it") == [[f"`{action.name}`", action.help, action.alert] for action in ACTIONS]


def test_actions_name_existing_alerts() -> None:
    assert {action.alert for action in ACTIONS if action.alert} <= ALERTS


def test_the_page_has_the_divisor() -> None:
    assert re.findall(r"are divided by (\d+)", PAGE) == [str(DEFAULTS["faster"])]


@pytest.mark.parametrize("line", re.findall(r"^\d\d:\d\d:\d\d  .*$", PAGE, re.MULTILINE))
def test_the_transcript_is_current(line: str) -> None:
    _time, state, text = re.split(r"  +", line, maxsplit=2)
    if state == "done":
        assert text.split(":")[0] in {action.name for action in ACTIONS}
    else:
        severity, alert, _about = re.split(r"  +", text)
        assert state in {"FIRING", "REPEATED", "RESOLVED"}
        assert severity in {"critical", "high", "medium"}
        assert alert in ALERTS
