"""docs/scaling-trial.md shows each scenario of bench.trial: its row and its picture."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.trial.recording import COLUMNS
from bench.trial.scenarios import SCENARIOS, Scenario

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "scaling-trial.md").read_text()
LARGEST_PICTURE = 200_000


def test_the_table_has_the_columns_that_a_trial_prints() -> None:
    assert f"| {' | '.join(COLUMNS)} |" in PAGE


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_each_scenario_has_a_row_a_picture_and_a_sentence(scenario: Scenario) -> None:
    assert len(re.findall(rf"^\| {scenario.name} \|", PAGE, re.MULTILINE)) == 2
    assert f"](images/trial-{scenario.name}.svg)" in PAGE
    section = PAGE.split(f"images/trial-{scenario.name}.svg")[1].split("![")[0]
    assert re.search(r"^> .*worker", section, re.MULTILINE)
    picture = (DOCS / "images" / f"trial-{scenario.name}.svg").read_text()
    assert scenario.title in picture
    assert len(picture) < LARGEST_PICTURE


def test_the_lines_fit_140_columns() -> None:
    assert [line for line in PAGE.splitlines() if len(line) > 140] == []
