"""The table of figures against what the code declares; the figures themselves are in tests/integration."""

from __future__ import annotations

import click
import pytest

from exporter.api.forward import ScalerClient
from exporter.api.routes import make_monitoring_api
from exporter.cli import main as monitor
from exporter.config.environment import CLUSTER_VARIABLES, EXPORTER_VARIABLES
from scaler.cli import main as scaling
from scaler.config.environment import MINUTES, SCALER_VARIABLES
from tests.support.coverage import ACTIONS, COMMANDS, FIGURES, QUERIES, VARIABLES
from tests.support.coverage_page import COVERAGE_PAGE, coverage_page
from tests.support.exporter_app import FakeExporter

GROUPS: dict[str, click.Group] = {"monitor": monitor, "scaling": scaling}


def test_the_page_is_the_table() -> None:
    assert COVERAGE_PAGE.read_text() == coverage_page(), "run python -m tests.support.coverage_page"


def test_every_row_of_the_document_is_there() -> None:
    rows = {row.id for row in FIGURES}
    assert rows == {*(f"M{n}" for n in range(1, 8)), *(f"S{n}" for n in range(1, 7))}


def test_every_cell_is_filled_or_has_a_reason() -> None:
    for row in FIGURES:
        assert row.series, row.figure
        assert row.api, row.figure
        assert (row.page and row.command) or row.why, row.figure


@pytest.mark.parametrize("program", COMMANDS)
def test_every_command_is_there(program: str) -> None:
    assert set(COMMANDS[program]) <= GROUPS[program].commands.keys()


def test_every_action_is_there() -> None:
    api = make_monitoring_api(FakeExporter(), ScalerClient(None, 1))
    assert set(QUERIES) <= api.queries.keys()
    assert set(ACTIONS) <= api.commands.keys()


def test_every_variable_is_there() -> None:
    assert set(VARIABLES) <= {*EXPORTER_VARIABLES, *SCALER_VARIABLES, *CLUSTER_VARIABLES, MINUTES}
